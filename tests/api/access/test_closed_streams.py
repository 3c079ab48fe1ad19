"""A stream that stops early frees what it holds at once, not when its memory is collected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from orchestrator.api.access.access import Access
from orchestrator.api.access.caller import Caller
from orchestrator.api.access.key_ring import KeyRing, key_revoked
from orchestrator.api.access.keys import Keys
from orchestrator.api.access.lifetimes import Over, until_over
from orchestrator.api.errors import ApiError
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


async def test_a_wait_for_the_next_item_ends_with_the_right_of_its_caller() -> None:
    over: Over = asyncio.get_running_loop().create_future()
    closed = asyncio.Event()
    reading = asyncio.create_task(anext(until_over(silent(closed), over)))
    await asyncio.sleep(0)
    over.set_result(key_revoked())

    with pytest.raises(ApiError, match="revoked"):
        await reading
    assert closed.is_set()
    assert not reading.cancelling()


async def test_a_caller_that_leaves_during_a_wait_is_cancelled_whatever_its_right() -> None:
    over: Over = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(anext(until_over(silent(asyncio.Event()), over)))
    await asyncio.sleep(0)
    over.set_result(key_revoked())
    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_right_that_ends_while_an_item_is_sent_does_not_interrupt_the_sending() -> None:
    over: Over = asyncio.get_running_loop().create_future()
    allowed = until_over(Items().stream(), over)

    async def send() -> None:
        await anext(allowed)
        over.set_result(key_revoked())
        await asyncio.sleep(0)  # the item is on its way
        await anext(allowed)

    with pytest.raises(ApiError, match="revoked"):
        await asyncio.create_task(send())


async def silent(closed: asyncio.Event) -> AsyncGenerator[StreamItem]:
    try:
        await asyncio.Event().wait()
        yield HeartbeatView(task_id="t")
    finally:
        closed.set()
