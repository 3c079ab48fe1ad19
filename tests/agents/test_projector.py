"""The sink's side of the log, on a real Kafka and a real Postgres."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.projector import Projector, ProjectorParts
from schemas.headers import header_text
from schemas.limits import Limits
from schemas.records import EventKind, TaskEvent, TaskId
from schemas.topics import Topics, TopicsSettings, dlq
from sinks.errors import SinkPositionError
from sinks.migrate import migrate_up
from sinks.reader import Reader
from sinks.settings import PostgresSettings
from sinks.writer import Position, Writer
from streams.admin import Admin
from streams.dead_letters import DeadLetters
from streams.envelopes import event_record
from streams.log_reader import LogReader
from streams.publisher import Publisher
from streams.settings import KafkaSettings
from tests.e2e.driving import a_database
from tests.streams.building import a_topic
from tests.tasks.builders import START, a_life, a_task_created

OWNER = {"owner": "an-owner", "owner_epoch": 1}


@dataclass(frozen=True)
class Sink:
    parts: ProjectorParts
    publisher: Publisher
    reader: Reader

    async def append(self, events: list[TaskEvent]) -> None:
        """Write events to the log, as its owner does."""
        stamped = [msgspec.structs.replace(event, **OWNER) for event in events]
        records = [event_record(self.parts.topics, 0, event, {}) for event in stamped]
        await self.publisher.publish(records)

    async def commit(self, offset: int) -> None:
        """Let the group have read up to an offset."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.parts.kafka.servers, group_id=self.parts.group
        )
        await consumer.start()
        tp = TopicPartition(self.parts.topics.task_events, 0)
        consumer.assign([tp])
        await consumer.commit({tp: offset})
        await consumer.stop()

    async def statuses(self, *ids: str) -> list[str]:
        return [row.status for row in await self.reader.tasks([TaskId(task_id) for task_id in ids])]


@pytest.fixture
async def sink(kafka_bootstrap: str, postgres_dsn: str) -> AsyncIterator[Sink]:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    topics = Topics(TopicsSettings(prefix=f"{uuid.uuid4()}."))
    async with Admin(kafka) as admin:
        names = (topics.task_events, dlq(topics.task_events))
        await admin.apply([a_topic(name, partitions=1) for name in names])
    postgres = PostgresSettings(dsn=await a_database(postgres_dsn))
    await migrate_up(postgres.dsn)
    publisher, writer, reader = Publisher(kafka, client_id="t"), Writer(postgres), Reader(postgres)
    for opened in (publisher, writer, reader):
        await opened.open()
    group = f"{topics.settings.prefix}sink"
    parts = ProjectorParts(
        group=group,
        kafka=kafka,
        topics=topics,
        limits=Limits(),
        writer=writer,
        dead_letters=DeadLetters(publisher, group=group),
    )
    yield Sink(parts, publisher, reader)
    for closed in (publisher, writer, reader):
        await closed.close()


def a_marker() -> TaskEvent:
    return TaskEvent(
        event_id="1",
        task_id=TaskId(""),
        tenant_id="",
        kind=EventKind.OWNERSHIP_TAKEN,
        occurred_at=START,
    )


def a_history(task_id: str) -> list[TaskEvent]:
    life = a_life(a_task_created(task_id=task_id))
    return life.events


async def test_what_the_group_has_committed_but_postgres_does_not_hold_is_read_again(
    sink: Sink,
) -> None:
    # So it is after Postgres was restored from a backup.
    await sink.append([a_marker(), *a_history("t1"), *a_history("t2")])
    await sink.commit(3)
    await Projector(0, sink.parts).open()

    assert await sink.statuses("t1", "t2") == ["pending", "pending"]


async def test_a_row_that_postgres_refuses_is_dead_lettered_and_the_others_are_written(
    sink: Sink,
) -> None:
    good = [a_history(f"t{n}")[0] for n in range(4)]
    bad = msgspec.structs.replace(a_history("bad")[0], phase="a\x00b")
    await sink.append([a_marker(), *good[:2], bad, *good[2:]])
    await sink.commit(6)
    await Projector(0, sink.parts).open()

    assert await sink.statuses("t0", "t1", "t2", "t3", "bad") == ["pending"] * 4
    async with LogReader(sink.parts.kafka, client_id="t") as reader:
        topic = dlq(sink.parts.topics.task_events)
        letters = [r async for batch in reader.read(topic, 0, 0, 1) for r in batch]
    assert header_text(letters[0].headers, "__dlq.errors.code") == "ROW_REFUSED"
    assert header_text(letters[0].headers, "__dlq.errors.offset") == "3"
    assert header_text(letters[0].headers, "__dlq.task.id") == "bad"


async def test_events_of_a_former_owner_become_no_rows(sink: Sink) -> None:
    await sink.append([a_marker()])
    zombie = msgspec.structs.replace(a_history("t1")[0], owner="zombie", owner_epoch=0)
    await sink.publisher.publish([event_record(sink.parts.topics, 0, zombie, {})])
    await sink.commit(2)
    await Projector(0, sink.parts).open()

    assert await sink.statuses("t1") == []


@pytest.mark.parametrize("next_offset", [5, 1_000])
async def test_a_sink_whose_database_belongs_to_another_log_stops(
    sink: Sink, next_offset: int
) -> None:
    await sink.append([a_marker(), *a_history("t1")])
    elsewhere = Position(next_offset=next_offset, epoch=1, owner="x")
    await sink.parts.writer.write(0, None, [], elsewhere)

    with pytest.raises(SinkPositionError, match="goes from 0 to 2"):
        await Projector(0, sink.parts).open()
