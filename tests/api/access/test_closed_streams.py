"""A stream that stops early frees what it holds at once, not when its memory is collected."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from orchestrator.api.access.access import Access
from orchestrator.api.access.caller import Caller
from orchestrator.api.access.key_ring import KeyRing
from orchestrator.api.access.keys import Keys
from orchestrator.api.http.stream import EventStream
from orchestrator.api.tasks.views.event import HeartbeatView, StreamItem

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Items:
    """Endless items, which say whether they hold their place."""

    def __init__(self) -> None:
        self.held = False

    async def stream(self) -> AsyncGenerator[StreamItem]:
        self.held = True
        try:
            while True:
                yield HeartbeatView(task_id="t")
        finally:
            self.held = False


@pytest.mark.parametrize("key_id", ["", "a key"])
async def test_a_stream_that_is_closed_closes_what_it_reads(key_id: str) -> None:
    items, access = Items(), Access(KeyRing(Keys({})), "acme")
    reading = items.stream()
    allowed = access.while_allowed(Caller("acme", "api", key_id=key_id), reading)
    await anext(allowed)
    assert items.held
    await allowed.aclose()
    assert not items.held


async def test_a_stream_whose_reader_is_too_slow_closes_what_it_reads() -> None:
    items = Items()
    reading = items.stream()
    answer = EventStream(reading, send_timeout_s=1.0)

    async def send(message: Message) -> None:
        if b"heartbeat" in message.get("body", b""):
            assert items.held
            raise TimeoutError

    await answer.stream_response(send)
    assert not items.held
