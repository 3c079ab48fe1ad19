"""What many watchers of one task cost: what they get is made once. No servers."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.api.access.caller import Caller
from orchestrator.api.made_once import MadeOnce
from orchestrator.api.tasks.queries import TaskQueries
from orchestrator.api.tasks.views.event import ChunkView, EventView, HeartbeatView
from orchestrator.api.tasks.watch import TaskWatch
from schemas.codec import encode
from schemas.records import ChunkKind, Millis, StreamChunk
from tests.api.replica.test_live_tasks import TOPICS, Log, known
from tests.streams.ownership.test_recovery import a_marker
from tests.tasks.builders import TASK, a_completed_life, a_life

CALLER = Caller("acme", "test")


class Queries:
    """Finds the task in memory, and counts."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.finds = 0

    async def find(self, _caller: Caller, _task_id: str) -> object:
        self.finds += 1
        return known(self._log)


@pytest.fixture
def log() -> Log:
    log = Log()
    log.event(a_marker(1, "a"))
    log.life(a_life())
    return log


def watching(log: Log, queries: Queries, heartbeat_s: float = 60.0) -> AsyncGenerator[Any]:
    parts = SimpleNamespace(
        settings=SimpleNamespace(chunks_max=9, heartbeat_s=heartbeat_s),
        tenants=SimpleNamespace(stream=lambda _tenant: SlotHeld()),
        live=log.live,
        closing=asyncio.Event(),
    )
    watch = TaskWatch(cast("Any", parts), cast("TaskQueries", queries))
    return watch.watch(CALLER, TASK, 0)


class SlotHeld:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def tell_chunk(log: Log, data: str) -> None:
    chunk = StreamChunk(task_id=TASK, kind=ChunkKind.TEXT, data=data, at=Millis(0))
    log.tell(TOPICS.stream, encode(chunk), TASK)


async def test_watchers_of_one_task_get_the_same_event_and_the_same_chunk(log: Log) -> None:
    watchers = [watching(log, Queries(log)) for _ in range(3)]
    events = [await anext(items) for items in watchers]
    coming = [asyncio.ensure_future(anext(items)) for items in watchers]
    await asyncio.sleep(0)
    tell_chunk(log, "once")
    chunks = await asyncio.gather(*coming)

    assert isinstance(events[0], EventView)
    assert isinstance(chunks[0], ChunkView)
    assert len({id(item) for item in events}) == len({id(item) for item in chunks}) == 1


async def test_a_chunk_does_not_make_its_watchers_look_at_the_task(log: Log) -> None:
    queries = Queries(log)
    items = watching(log, queries)
    assert isinstance(await anext(items), EventView)
    coming = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)
    looks = queries.finds
    for number in range(5):
        tell_chunk(log, str(number))
        assert (await coming).data == str(number)
        coming = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)

    assert queries.finds == looks
    coming.cancel()


async def test_an_event_that_comes_with_a_chunk_is_not_missed(log: Log) -> None:
    items, life = watching(log, Queries(log)), a_completed_life()
    first = await anext(items)
    coming = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)
    tell_chunk(log, "last words")
    log.life(life)
    async with asyncio.timeout(10):
        seen = [first, await coming, *[item async for item in items]]

    sequences = [item.sequence for item in seen if isinstance(item, EventView)]
    assert sequences == [event.sequence for event in life.events]


async def test_a_watcher_looks_at_the_task_with_every_heartbeat(log: Log) -> None:
    queries = Queries(log)
    items = watching(log, queries, heartbeat_s=0.01)
    await anext(items)
    assert isinstance(await anext(items), HeartbeatView)
    looks = queries.finds
    assert isinstance(await anext(items), HeartbeatView)

    assert queries.finds == looks + 1


def test_what_is_made_of_an_object_is_not_what_is_made_of_an_equal_one() -> None:
    made_of = MadeOnce[list[int], list[int]](list)
    one, other = [1], [1]

    assert made_of(one) is made_of(one)
    assert made_of(one) is not made_of(other)


def test_what_was_made_long_ago_is_forgotten() -> None:
    made_of = MadeOnce[list[int], list[int]](list)
    given = [[number] for number in range(1_000)]
    first = made_of(given[0])
    for each in given:
        made_of(each)

    assert made_of(given[0]) is not first
    assert len(made_of._kept) < 100
