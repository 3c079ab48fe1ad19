"""Who is written with whom, and who is told what; the store is a list."""

import asyncio
from collections.abc import Sequence

import pytest

from sinks.errors import SinkError, SinkLockedError, SinkRowError, SinkUnavailableError
from sinks.group_commit import GroupCommit


class Store:
    """Keeps the groups that it is given; refuses those that hold a bad item."""

    def __init__(self, bad: str = "", error: SinkError | None = None) -> None:
        self.tried: list[list[str]] = []
        self.written: list[list[str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.group = GroupCommit[str](self._write, size_max=5)
        self._bad = bad
        self._error = error

    async def _write(self, items: Sequence[str]) -> None:
        self.tried.append(list(items))
        await self.open.wait()
        if self._error is not None and any(item in self._bad for item in items):
            raise self._error
        self.written.append(list(items))

    def give(self, items: str, *, size: int = 1) -> list[asyncio.Task[None]]:
        """Each item from a caller of its own."""
        return [asyncio.create_task(self.group.write(item, size=size)) for item in items]


async def turns() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_idle_store_is_written_to_at_once() -> None:
    store = Store()

    await store.group.write("a", size=1)
    await store.group.write("b", size=1)

    assert store.written == [["a"], ["b"]]


async def test_what_gathers_during_a_write_is_the_next_one() -> None:
    store = Store()
    store.open.clear()
    callers = store.give("a")
    await turns()
    callers += store.give("bcd")
    await turns()

    store.open.set()
    await asyncio.gather(*callers)

    assert store.written == [["a"], ["b", "c", "d"]]


async def test_a_group_is_bounded_and_an_item_alone_is_not() -> None:
    store = Store()

    await asyncio.gather(*store.give("abc", size=2), *store.give("d", size=9), *store.give("e"))

    assert store.written == [["a", "b"], ["c"], ["d"], ["e"]]


@pytest.mark.parametrize("error", [SinkRowError("no"), SinkLockedError("held by another")])
async def test_what_may_be_the_fault_of_one_item_is_told_to_its_caller_alone(
    error: SinkError,
) -> None:
    store = Store(bad="b", error=error)

    outcomes = await asyncio.gather(*store.give("abc"), return_exceptions=True)

    assert outcomes == [None, error, None]
    assert store.written == [["a"], ["c"]]


async def test_a_store_that_is_away_is_told_to_all_and_asked_once() -> None:
    away = SinkUnavailableError("away")
    store = Store(bad="b", error=away)

    outcomes = await asyncio.gather(*store.give("abc"), return_exceptions=True)

    assert outcomes == [away] * 3
    assert store.tried == [["a", "b", "c"]]


async def test_an_item_whose_caller_is_cancelled_while_it_waits_is_taken_out() -> None:
    store = Store()
    store.open.clear()
    callers = store.give("a")
    await turns()
    callers += store.give("bc")
    await turns()

    callers[1].cancel()
    store.open.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)

    assert store.written == [["a"], ["c"]]
    assert isinstance(outcomes.pop(1), asyncio.CancelledError)
    assert outcomes == [None, None]


async def test_a_caller_that_is_cancelled_waits_for_the_write_that_it_shares() -> None:
    store = Store()
    store.open.clear()
    callers = store.give("abc")
    await turns()

    callers[0].cancel()
    await turns()
    assert not callers[0].done()
    store.open.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)

    assert store.written == [["a", "b", "c"]]
    assert isinstance(outcomes.pop(0), asyncio.CancelledError)
    assert outcomes == [None, None]


async def test_a_write_whose_callers_are_all_cancelled_is_cancelled_and_the_next_begins() -> None:
    store = Store()
    store.open.clear()
    callers = store.give("ab")
    await turns()
    (later,) = store.give("c")
    await turns()

    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    store.open.set()
    await later

    assert store.tried == [["a", "b"], ["c"]]
    assert store.written == [["c"]]


async def test_a_caller_that_is_cancelled_twice_waits_no_longer() -> None:
    store = Store()
    store.open.clear()
    callers = store.give("ab")
    await turns()

    for _ in range(2):
        callers[0].cancel()
        await turns()

    assert callers[0].cancelled()
    store.open.set()
    await callers[1]
    assert store.written == [["a", "b"]]


async def test_after_a_joint_failure_the_item_of_a_cancelled_caller_is_not_written() -> None:
    store = Store(bad="b", error=SinkRowError("no"))
    store.open.clear()
    callers = store.give("abc")
    await turns()

    callers[2].cancel()
    await turns()
    store.open.set()
    await asyncio.gather(*callers, return_exceptions=True)

    assert store.written == [["a"]]


async def test_the_end_is_waited_for() -> None:
    store = Store()
    store.open.clear()
    (caller,) = store.give("a")
    await turns()
    ended = asyncio.create_task(store.group.ended())
    await turns()
    assert not ended.done()

    store.open.set()
    await ended

    assert store.written == [["a"]]
    await caller
