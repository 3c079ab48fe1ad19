"""An OTLP/HTTP receiver that keeps what it gets, and the trees that its spans make."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

WAIT_S = 60.0
_ERROR = trace_pb2.Status.STATUS_CODE_ERROR


@dataclass(frozen=True)
class ExportedSpan:
    """A span as the receiver got it."""

    process: str
    """``service.name``."""
    span: trace_pb2.Span

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def failed(self) -> bool:
        return self.span.status.code == _ERROR

    @property
    def links(self) -> list[tuple[str, str]]:
        return [(link.trace_id.hex(), link.span_id.hex()) for link in self.span.links]

    def __getitem__(self, name: str) -> Any:
        """The value of an attribute; None without it."""
        for attribute in self.span.attributes:
            if attribute.key == name:
                return getattr(attribute.value, attribute.value.WhichOneof("value") or "")
        return None


class Receiver:
    """Takes spans until the end of the block; see :func:`a_receiver`."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[ExportedSpan] = []

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [ExportedSpan(names["service.name"], span) for span in scope.spans]

    def of_task(self, task_id: str) -> list[ExportedSpan]:
        """All spans of the traces that a task is named in."""
        traces = {span.trace_id for span in self.spans if span["orchestrator.task.id"] == task_id}
        return [span for span in self.spans if span.trace_id in traces]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until spans are as wanted."""
        async with asyncio.timeout(WAIT_S):
            while not condition():  # noqa: ASYNC110  # another thread takes them
                await asyncio.sleep(0.05)


@contextmanager
def a_receiver() -> Iterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name is given
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.take(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    receiver.endpoint = f"http://127.0.0.1:{server.server_port}"
    yield receiver
    server.shutdown()
    thread.join(5)
    server.server_close()


def roots(spans: Sequence[ExportedSpan]) -> list[ExportedSpan]:
    """The spans whose parent is not among them: one, if they are one tree."""
    ids = {span.id for span in spans}
    return [span for span in spans if span.parent not in ids]


def path(spans: Sequence[ExportedSpan], leaf: ExportedSpan) -> list[str]:
    """The names from the root to a span."""
    by_id = {span.id: span for span in spans}
    names = [leaf.name]
    while leaf.parent in by_id:
        leaf = by_id[leaf.parent]
        names.append(leaf.name)
    return names[::-1]


def named(spans: Sequence[ExportedSpan], name: str) -> list[ExportedSpan]:
    """The spans of a name, in the order in which they began."""
    found = [span for span in spans if span.name == name]
    return sorted(found, key=lambda span: span.span.start_time_unix_nano)
