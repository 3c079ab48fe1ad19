"""A log in Kafka and a projection in Postgres, for tests of what lies between them."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.projection.counts_export import CountsExport
from agents.projection.projector import ProjectorParts
from agents.projection.rebuild import RebuildParts
from agents.sink import create_sink
from schemas.limits import Limits
from schemas.records import EventKind, TaskEvent, TaskId
from schemas.topics import Topics, TopicsSettings, dlq
from sinks.reads.reader import Reader
from sinks.schema.migrate import migrate_up
from sinks.settings import PostgresSettings
from sinks.writer import Writer
from streams.envelopes import event_record
from streams.kafka.admin import Admin
from streams.kafka.dead_letters import DeadLetters
from streams.kafka.publisher import Publisher
from streams.runtime.app import App
from streams.settings import KafkaSettings
from tests.e2e.driving import a_database
from tests.streams.building import a_topic
from tests.tasks.builders import START

OWNER = {"owner": "an-owner", "owner_epoch": 1}


@dataclass(frozen=True)
class Sink:
    parts: ProjectorParts
    publisher: Publisher
    reader: Reader
    postgres: PostgresSettings

    @property
    def rebuilding(self) -> RebuildParts:
        return RebuildParts(
            kafka=self.parts.kafka,
            topics=self.parts.topics,
            limits=self.parts.limits,
            postgres=self.postgres,
        )

    async def append(self, events: Sequence[TaskEvent], partition: int = 0) -> None:
        """Write events to the log, as its owner does."""
        stamped = [msgspec.structs.replace(event, **OWNER) for event in events]
        records = [event_record(self.parts.topics, partition, event, {}) for event in stamped]
        await self.publisher.publish(records)

    async def commit(self, offset: int) -> None:
        """Let the group have read up to an offset."""
        # Of its own accord it would commit where it began to read, when it stops.
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.parts.kafka.servers,
            group_id=self.parts.group,
            enable_auto_commit=False,
        )
        await consumer.start()
        tp = TopicPartition(self.parts.topics.task_events, 0)
        consumer.assign([tp])
        await consumer.commit({tp: offset})
        await consumer.stop()

    async def statuses(self, *ids: str) -> list[str]:
        return [row.status for row in await self.reader.tasks([TaskId(task_id) for task_id in ids])]

    async def execute(self, statement: str) -> None:
        """Change the database behind everybody's back."""
        connection = await asyncpg.connect(self.postgres.dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def fetch(self, statement: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.postgres.dsn)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def a_sink(kafka_bootstrap: str, postgres_dsn: str) -> AsyncIterator[Sink]:
    """A topic with one partition and a database of its own; nothing runs."""
    kafka = KafkaSettings(
        bootstrap=kafka_bootstrap,
        session_timeout_s=6.0,
        drain_timeout_s=1.0,
        commit_interval_s=0.2,
    )
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
    yield Sink(parts, publisher, reader, postgres)
    for closed in (publisher, writer, reader):
        await closed.close()


@asynccontextmanager
async def running(sink: Sink, counts: CountsExport | None = None) -> AsyncIterator[App]:
    """The sink's application, consuming."""
    app = create_sink(sink.parts, counts)
    app.finalize()
    await app.maybe_start()
    try:
        yield app
    finally:
        await app.close(5.0)
        await app.stop()


def a_marker(epoch: int = 1) -> TaskEvent:
    return TaskEvent(
        event_id=str(epoch),
        task_id=TaskId(""),
        tenant_id="",
        kind=EventKind.OWNERSHIP_TAKEN,
        occurred_at=START,
    )
