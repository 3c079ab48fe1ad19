"""One task's history, read from the whole log or from where it may have begun."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec
import pytest
from msgspec.structs import replace

from schemas.records import CommandKind, EventKind, Millis, ResultKind, TaskEvent, TaskId
from schemas.topics import Topics, TopicsSettings
from streams.envelopes import event_record
from streams.history.task_log import SKEW_MS, TaskLife, TaskLog, ended
from streams.kafka.admin import Admin
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings
from tests.sinks.building import BROKEN, ALog, a_marker
from tests.streams.building import WAIT_S, a_topic

TASK = TaskId("task_1")
NOW = Millis(time.time_ns() // 1_000_000)
LONG_AGO = Millis(NOW - 10 * SKEW_MS)


@dataclass
class Written:
    """A log on the real Kafka, one partition, and a reader of it."""

    topics: Topics
    publisher: Publisher
    log: TaskLog
    offsets: list[int] = field(default_factory=list)

    async def append(self, *events: TaskEvent, at: Millis = NOW) -> None:
        records = [replaced(event_record(self.topics, 0, event, {}), at) for event in events]
        self.offsets += await self.publisher.publish(records)


def replaced(record: Outgoing, at: Millis, value: bytes | None = None) -> Outgoing:
    return replace(record, timestamp_ms=at, value=value or record.value)


@pytest.fixture
async def written(kafka: KafkaSettings, publisher: Publisher) -> AsyncIterator[Written]:
    topics = Topics(TopicsSettings(prefix=f"{uuid.uuid4()}.", partitions=1, replication_factor=1))
    async with Admin(kafka) as admin:
        await admin.apply([a_topic(topics.task_events, partitions=1)])
    async with LogReader(kafka, client_id="test") as reader:
        yield Written(topics, publisher, TaskLog(reader, topics))


def by(epoch: int, *events: TaskEvent, owner: str | None = None) -> list[TaskEvent]:
    """Events as the owner of an epoch writes them."""
    name = owner or f"owner-{epoch}"
    return [msgspec.structs.replace(e, owner=name, owner_epoch=epoch) for e in events]


def a_life(task_id: str = TASK) -> list[TaskEvent]:
    """Created, started, first step done, failed, retried."""
    log = ALog()
    log.create(task_id)
    log.report(ResultKind.STARTED, task_id)
    log.report(ResultKind.SUCCEEDED, task_id)
    log.report(ResultKind.FAILED, task_id, error=BROKEN)
    log.command(CommandKind.RETRY, task_id)
    return [logged.event for logged in log.events]


def a_cancel(after: int) -> TaskEvent:
    """What a former owner may still write: the task's end, at a sequence of its own."""
    [*_, last] = a_life()[:after]
    return msgspec.structs.replace(
        last, kind=EventKind.CANCELLED, sequence=after + 1, task=None, dispatched=[]
    )


def kinds(history: TaskLife) -> list[str]:
    return [seen.event.kind.value for seen in history.life]


WHOLE = ["created", "started", "step_succeeded", "failed", "retried"]


async def test_the_history_of_a_task_is_what_its_owners_wrote(written: Written) -> None:
    await written.append(a_marker(1), *by(1, *a_life("other"), *a_life()))

    history = await written.log.read(TASK)
    assert kinds(history) == WHOLE
    assert [seen.offset for seen in history.life] == written.offsets[-5:]
    assert history.next_offset == written.offsets[-1] + 1
    assert not history.begins_midway


async def test_a_history_is_read_from_when_it_may_have_begun(written: Written) -> None:
    await written.append(a_marker(1), *by(1, *a_life("old")), at=LONG_AGO)
    await written.append(*by(1, *a_life("new"), *a_life()))

    history = await written.log.read(TASK, since=NOW)
    assert kinds(history) == WHOLE
    assert not history.sieve.whole


async def test_a_task_that_is_older_than_its_id_says_is_found_all_the_same(
    written: Written,
) -> None:
    created, *rest = a_life()
    await written.append(a_marker(1), *by(1, created), at=LONG_AGO)
    await written.append(*by(1, *rest))

    history = await written.log.read(TASK, since=NOW)
    assert kinds(history) == WHOLE
    assert history.sieve.whole


@pytest.mark.parametrize("since", [None, NOW], ids=["from the start", "from a time"])
async def test_what_a_former_owner_writes_after_its_successor_does_not_count(
    written: Written, since: Millis | None
) -> None:
    first, second, *rest = a_life()
    await written.append(a_marker(1), at=LONG_AGO)
    await written.append(*by(1, first), a_marker(2), *by(1, a_cancel(1)), *by(2, second, *rest))

    assert kinds(await written.log.read(TASK, since=since)) == WHOLE


async def test_a_former_owner_is_told_apart_also_where_its_successors_marker_was_not_read(
    written: Written,
) -> None:
    await written.append(a_marker(1), a_marker(2), at=LONG_AGO)
    await written.append(*by(1, *a_life("other")), *by(2, *a_life()), *by(1, a_cancel(5)))

    assert kinds(await written.log.read(TASK, since=NOW)) == WHOLE


async def test_where_the_middle_of_the_log_leaves_a_doubt_all_of_it_is_read(
    written: Written,
) -> None:
    loser = msgspec.structs.replace(a_marker(2), owner="who came second")
    await written.append(a_marker(1), a_marker(2), at=LONG_AGO)
    await written.append(loser, *by(2, *a_life()))

    history = await written.log.read(TASK, since=NOW)
    assert kinds(history) == WHOLE
    assert history.sieve.whole


async def test_a_task_whose_beginning_has_left_the_log_is_no_history(written: Written) -> None:
    await written.append(a_marker(1), *by(1, *a_life()[1:4]))

    history = await written.log.read(TASK)
    assert (history.life, history.begins_midway) == ([], True)


async def test_a_retry_carries_all_that_a_history_needs(written: Written) -> None:
    await written.append(a_marker(1), *by(1, *a_life()[2:]))

    history = await written.log.read(TASK)
    assert (kinds(history), history.begins_midway) == (["retried"], False)


async def test_of_an_id_that_is_used_again_the_last_life_is_shown(written: Written) -> None:
    await written.append(a_marker(1), *by(1, *a_life(), a_life()[0]))

    assert kinds(await written.log.read(TASK)) == ["created"]


async def test_a_task_that_is_not_there_has_no_history(written: Written) -> None:
    await written.append(a_marker(1), *by(1, *a_life("other")))

    for since in (None, NOW):
        history = await written.log.read(TASK, since=since)
        assert (history.life, history.begins_midway) == ([], False)


async def test_bytes_that_nobody_can_read_are_passed_over(written: Written) -> None:
    garbled = event_record(written.topics, 0, a_life()[0], {})
    await written.publisher.publish([replaced(garbled, NOW, b"garbage")])
    await written.append(a_marker(1), *by(1, *a_life()))

    assert kinds(await written.log.read(TASK)) == WHOLE


async def test_what_comes_after_a_history_follows_it(written: Written) -> None:
    first, *rest = a_life()
    await written.append(a_marker(1), *by(1, first))
    history = await written.log.read(TASK)
    await written.append(a_marker(2), *by(1, a_cancel(1)), *by(2, *a_life("other"), *rest), at=NOW)

    followed = []
    async with asyncio.timeout(WAIT_S), aclosing(written.log.follow(history)) as events:
        async for seen in events:
            followed.append(seen.event.kind.value)
            if len(followed) == len(rest):
                break

    assert followed == WHOLE[1:]
    assert kinds(history) == WHOLE
    assert not ended(history.life)


async def test_events_from_an_offset_on_are_only_those_that_count(written: Written) -> None:
    first, second, third, *_ = a_life()
    await written.append(a_marker(1), *by(1, first))
    offset = written.offsets[-1] + 1
    await written.append(a_marker(2), *by(1, a_cancel(1)), *by(2, second, third))

    found = []
    events = written.log.accepted_from(TASK, offset, now=NOW)
    async with asyncio.timeout(WAIT_S), aclosing(events):
        async for seen in events:
            found.append(seen.event.kind.value)
            if len(found) == 2:
                break

    assert found == ["started", "step_succeeded"]
