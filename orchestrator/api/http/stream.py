"""Server-sent events: a stream of a task that a browser's EventSource can resume.

Source: WHATWG HTML, section 9.2; an ``id`` is the task's sequence.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Send

from orchestrator.api.errors import ApiError
from orchestrator.api.http.problems import problem_of
from orchestrator.api.made_once import MadeOnce
from orchestrator.api.tasks.views.event import EventView, HeartbeatView, StreamItem

SSE_TYPE = "text/event-stream"
_HEARTBEAT = b": heartbeat\n\n"


class EventStream(StreamingResponse):
    """Items as server-sent events; a reader that accepts no data for too long is cut off."""

    def __init__(
        self,
        items: AsyncGenerator[StreamItem],
        *,
        send_timeout_s: float,
        headers: dict[str, str] | None = None,
    ) -> None:
        written = _written(items)
        super().__init__(
            written,
            media_type=SSE_TYPE,
            # By default proxies collect events until their buffer is full.
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})},
        )
        self._written = written
        self._send_timeout_s = send_timeout_s

    async def stream_response(self, send: Send) -> None:
        """Send the parts, each within a time limit."""

        async def bounded(message: object) -> None:
            async with asyncio.timeout(self._send_timeout_s):
                await send(message)  # type: ignore[arg-type]  # passed on as it came

        try:
            async with aclosing(self._written):
                await super().stream_response(bounded)
        except TimeoutError:
            return  # the connection is closed; its reader resumes after the last event that it has


async def _written(items: AsyncGenerator[StreamItem]) -> AsyncGenerator[bytes]:
    # Sent at once, so that the client gets the head of the answer and knows the stream is open.
    yield b": open\n\n"
    try:
        async with aclosing(items):
            async for item in items:
                yield _frame_of(item)
    except ApiError as error:
        # The status was sent long before.
        yield b"event: error\ndata: " + msgspec.json.encode(problem_of(error)) + b"\n\n"


def _frame(item: StreamItem) -> bytes:
    if isinstance(item, HeartbeatView):
        return _HEARTBEAT
    frame = b"event: %s\ndata: %s\n\n" % (
        str(item.__struct_config__.tag).encode(),
        msgspec.json.encode(item),
    )
    return b"id: %d\n" % item.sequence + frame if isinstance(item, EventView) else frame


_frame_of = MadeOnce(_frame)
