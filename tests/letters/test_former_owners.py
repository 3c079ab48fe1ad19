"""What a former owner of a partition writes counts neither for a canary nor for a timeline."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import msgspec
import pytest

from orchestrator.api.tasks.sources import timeline
from schemas.records import EventKind, ResultKind, StepName, TaskEvent, TaskId, TaskStatus
from schemas.topics import Topics, TopicsSettings
from streams.envelopes import event_record
from streams.history.task_log import TaskLog
from streams.kafka.admin import Admin
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Outgoing, Publisher
from streams.letters.canary import Canary, Watch
from streams.settings import KafkaSettings
from tests.sinks.building import ALog, a_marker

TASK = TaskId("task_1")
GROUP = "routers"


@dataclass
class Log:
    kafka: KafkaSettings
    topics: Topics
    reader: LogReader
    publisher: Publisher
    admin: Admin

    async def append(self, *events: TaskEvent) -> None:
        records = [event_record(self.topics, 0, event, {}) for event in events]
        await self.publisher.publish(records)

    async def command(self) -> int:
        """A record that a group has read past; its offset."""
        topic = self.topics.task_commands
        [offset] = await self.publisher.publish(
            [Outgoing(topic=topic, partition=0, key=TASK.encode(), value=b"v")]
        )
        return offset


@pytest.fixture
async def log(kafka_bootstrap: str) -> AsyncIterator[Log]:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    topics = Topics(
        TopicsSettings(prefix=f"f{uuid.uuid4().hex[:8]}.", partitions=1, replication_factor=1)
    )
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Admin(kafka))
        await admin.apply(topics.table([StepName("s")]))
        reader = await stack.enter_async_context(LogReader(kafka, client_id="test"))
        publisher = Publisher(kafka, client_id="test")
        await publisher.open()
        stack.push_async_callback(publisher.close)
        yield Log(kafka, topics, reader, publisher, admin)


def by(epoch: int, events: Sequence[TaskEvent]) -> list[TaskEvent]:
    return [msgspec.structs.replace(e, owner=f"owner-{epoch}", owner_epoch=epoch) for e in events]


def a_life() -> list[TaskEvent]:
    made = ALog()
    made.create(TASK)
    made.report(ResultKind.STARTED, TASK)
    return [logged.event for logged in made.events]


def an_end(after: TaskEvent, kind: EventKind, cause: tuple[str, int]) -> TaskEvent:
    return msgspec.structs.replace(
        after,
        kind=kind,
        status=TaskStatus(kind.value),
        sequence=after.sequence + 1,
        task=None,
        dispatched=[],
        cause_topic=cause[0],
        cause_partition=0,
        cause_offset=cause[1],
    )


def places_of(topics: Topics) -> list[tuple[str, int]]:
    return [(topics.task_events, 0), (f"dlq.{topics.task_commands}", 0)]


class Canaries(Canary):
    """The offsets of the group are not what is tested: it has read everything."""

    async def _look(self, admin: Admin, watches: Sequence[Watch], seen: object) -> None:
        await super()._look(admin, watches, seen)  # type: ignore[arg-type]
        seen.read_past.update(watch.letter_id for watch in watches)  # type: ignore[attr-defined]


@pytest.mark.parametrize("before_mark", [True, False], ids=["owned before", "taken while watched"])
async def test_a_canary_is_not_taken_in_by_a_zombie(log: Log, before_mark: bool) -> None:
    topics, life = log.topics, a_life()
    offset = await log.command()
    cause = (topics.task_commands, offset)
    takeover = [a_marker(1), *by(1, life), a_marker(2)]
    await log.append(*(takeover if before_mark else takeover[:-1]))
    canary = Canaries(log.reader, log.kafka, topics, places_of(topics))
    await canary.mark()
    if not before_mark:
        await log.append(takeover[-1])
    await log.append(
        *by(1, [an_end(life[-1], EventKind.COMPLETED, cause)]),
        *by(2, [an_end(life[-1], EventKind.FAILED, cause)]),
        *by(1, [an_end(life[-1], EventKind.COMPLETED, cause)]),
    )
    watch = Watch(
        letter_id="l", group=GROUP, topic=topics.task_commands, partition=0, offset=offset
    )

    assert await canary.failed([watch], 2.0) == [watch]


async def test_a_canary_whose_owner_completes_it_is_good_whatever_a_zombie_says(log: Log) -> None:
    topics, life = log.topics, a_life()
    offset = await log.command()
    cause = (topics.task_commands, offset)
    await log.append(a_marker(1), *by(1, life))
    canary = Canaries(log.reader, log.kafka, topics, places_of(topics))
    await canary.mark()
    await log.append(
        a_marker(2),
        *by(2, [an_end(life[-1], EventKind.COMPLETED, cause)]),
        *by(1, [an_end(life[-1], EventKind.FAILED, cause)]),
    )
    watch = Watch(
        letter_id="l", group=GROUP, topic=topics.task_commands, partition=0, offset=offset
    )

    assert await canary.failed([watch], 2.0) == []


async def test_the_timeline_of_a_letter_leaves_out_what_a_zombie_wrote(log: Log) -> None:
    life = a_life()
    zombie = an_end(life[-1], EventKind.CANCELLED, ("", -1))
    end = an_end(life[-1], EventKind.FAILED, ("", -1))
    await log.append(a_marker(1), *by(1, life), a_marker(2), *by(1, [zombie]), *by(2, [end]))
    told = await timeline(TaskLog(log.reader, log.topics), TASK, None)

    assert [event.kind for event in told.events] == ["created", "started", "failed"]


async def test_the_timeline_has_the_last_life_of_an_id(log: Log) -> None:
    life = a_life()
    await log.append(a_marker(1), *by(1, life), *by(1, life[:1]))
    told = await timeline(TaskLog(log.reader, log.topics), TASK, None)

    assert [event.kind for event in told.events] == ["created"]
