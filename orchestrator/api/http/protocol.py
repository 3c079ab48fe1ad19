"""Uvicorn's HTTP protocol with bounds for each connection.

Uvicorn itself reads headers of any size for any time: 96 MB of them were kept in memory, and
connections that send nothing stayed open for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator.api.http.problems import problem_bytes
from orchestrator.api.limits.late_bodies import LateBodies
from orchestrator.api.limits.metrics import LIMITED
from orchestrator.api.limits.settings import ApiLimitsSettings

log = structlog.get_logger()

_LATE_BODY_MAX_BYTES = 16 * 1024 * 1024
"""What is read of a body after its answer. Many clients read the answer only after they have sent
everything: closing at once would give them a reset in its place."""
_LATE_BODIES_BYTES_PER_S = 8 * 1024 * 1024
"""How fast such bodies are read, all connections together."""
_REASONS = {
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A subclass by :func:`bounded_protocol` has the limits."""

    limits: ClassVar[ApiLimitsSettings]
    late_bodies: ClassVar[LateBodies]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refused = False
        self._reads_headers = True
        self._received_bytes = 0
        """What arrived since the headers of the current request began."""
        self._header_bytes = 0
        self._late_body_bytes = 0
        """What arrived of a body after the answer was complete."""
        self._timer: asyncio.TimerHandle | None = None
        self._reads_again: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections_max:
            self._refuse(503, "CONNECTIONS_TOO_MANY", "this replica has too many connections")
            return
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        if self._reads_again is not None:
            self._reads_again.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; refuse headers that are too large."""
        if self._refused:
            return
        if self._reads_headers:
            self._start_timer()
            self._received_bytes += len(data)
        super().data_received(data)
        # A header that has not ended is not counted yet, and is kept by the parser.
        if self._reads_headers and self._received_bytes > self.limits.header_max_bytes:
            self._refuse_headers()

    def on_message_begin(self) -> None:
        """Begin to count the headers of a request."""
        self._reads_headers = True
        self._header_bytes = 0
        self._start_timer()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the path."""
        self._header_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; those beyond the limit are not kept."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes <= self.limits.header_max_bytes:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, unless its headers are too large."""
        self._reads_headers = False
        self._received_bytes = 0
        self._late_body_bytes = 0
        self._stop_timer()
        if self._header_bytes > self.limits.header_max_bytes:
            self._refuse_headers()
        elif not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body; what comes after the answer is read slowly, and not for long."""
        if self._refused:
            return
        super().on_body(body)
        if not self._answers:
            self._late_body_bytes += len(body)
            if self._late_body_bytes > _LATE_BODY_MAX_BYTES:
                self.transport.close()
            else:
                self._pause(self.late_bodies.pause_s(len(body), self.loop.time()))

    def on_message_complete(self) -> None:
        """End the request; what follows is the next one."""
        self._reads_headers = True
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """End the answer; the rest of its request, or the next headers, have a bounded time.

        The connection is not closed at once: a client that is still sending would get a reset in
        the place of the answer. Bytes that arrive do not start the time again, and end the wait
        of Uvicorn for the next request.
        """
        super().on_response_complete()
        begun = not self._reads_headers or self._received_bytes > 0
        if begun and not self.transport.is_closing():
            self._start_timer()

    def _pause(self, seconds: float) -> None:
        if self._reads_again is not None:
            self._reads_again.cancel()
        self.flow.pause_reading()
        self._reads_again = self.loop.call_later(seconds, self.flow.resume_reading)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, unless an answer is still being sent on it."""
        self._stop_timer()
        if self._answers:
            self.transport.close()
            return
        super().handle_websocket_upgrade()

    @property
    def _answers(self) -> bool:
        """Whether an answer is being sent, or will be once the one before it has been."""
        return bool(self.pipeline) or (self.cycle is not None and not self.cycle.response_complete)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        if self._answers:
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _start_timer(self) -> None:
        # While an answer is sent, the next request may wait, and what it keeps here is bounded.
        if self._timer is None and not self._answers:
            self._timer = self.loop.call_later(self.limits.header_timeout_s, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self._received_bytes:
            self._refuse(408, "HEADERS_LATE", "the headers did not arrive in time")
        elif not self.transport.is_closing():
            # Nothing was sent: there is no request to answer.
            LIMITED.labels("header_timeout_s").inc()
            self.transport.close()

    def _refuse_headers(self) -> None:
        most = self.limits.header_max_bytes
        self._refuse(431, "HEADERS_TOO_LARGE", f"the headers have more than {most} bytes")

    def _refuse(self, status: int, code: str, detail: str) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_timer()
        LIMITED.labels(_LIMITS[status]).inc()
        log.info("connection_refused", code=code)
        if not self._answers:
            # Otherwise it would be read as a part of the answer that is being sent.
            self.transport.write(_response(status, code, detail))
        self.transport.close()


_LIMITS = {408: "header_timeout_s", 431: "header_max_bytes", 503: "connections_max"}


def _response(status: int, code: str, detail: str) -> bytes:
    body = problem_bytes(status, code, detail)
    lines = [
        f"HTTP/1.1 {status} {_REASONS[status]}",
        "content-type: application/problem+json",
        f"content-length: {len(body)}",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "connection: close",
    ]
    if status == 503:
        lines.append("retry-after: 1")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + body


def bounded_protocol(limits: ApiLimitsSettings) -> type[BoundedProtocol]:
    """The protocol with these limits, for Uvicorn's configuration."""
    late_bodies = LateBodies(_LATE_BODIES_BYTES_PER_S)
    members = {"limits": limits, "late_bodies": late_bodies}
    return type("LimitedProtocol", (BoundedProtocol,), members)
