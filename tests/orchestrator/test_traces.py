"""Spans reach an OTLP receiver."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

# A process of its own: a tracer provider can be set once.
PROGRAM = """
import sys
from orchestrator.traces import TracesSettings, exported_traces
from streams.tracing import consumer_span
with exported_traces(TracesSettings(endpoint=sys.argv[1]), role="router"):
    with consumer_span("route", [("traceparent", sys.argv[2].encode())]):
        pass
"""
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


class Receiver(BaseHTTPRequestHandler):
    requests: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:  # the name is given
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        self.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[HTTPServer]:
    Receiver.requests = []
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join(5)
    server.server_close()


def test_a_span_continues_the_trace_of_its_record_and_is_exported(receiver: HTTPServer) -> None:
    endpoint = f"http://127.0.0.1:{receiver.server_port}"
    arguments = [endpoint, f"00-{TRACE_ID}-b7ad6b7169203331-01"]
    subprocess.run([sys.executable, "-c", PROGRAM, *arguments], timeout=60, check=True)

    [resource] = Receiver.requests[0].resource_spans
    [span] = resource.scope_spans[0].spans
    names = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert (span.name, span.trace_id.hex()) == ("route", TRACE_ID)
    assert span.parent_span_id.hex() == "b7ad6b7169203331"
    assert names["service.name"] == "ai-orchestrator-router"
