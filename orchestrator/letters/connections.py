"""The connections for all work on dead letters: to the letters and the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import structlog

from orchestrator.layout import topic_table
from orchestrator.pipelines import installed_pipelines
from orchestrator.schema_ids import use_schema_ids
from orchestrator.settings import Settings
from schemas.topics import DLQ_PREFIX, Topics
from sinks.errors import SinkUnavailableError
from sinks.letters.reader import read_index
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Publisher
from streams.letters.action_log import ActionLog
from streams.letters.scan import scan
from streams.letters.topics import dead_letter_topics
from tasks.letters.known import KnownLetters

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterConnections:
    """Open connections of one command, or of one call."""

    settings: Settings
    topics: Topics
    dlq_topics: Sequence[str]
    reader: LogReader
    log: ActionLog
    resources: AsyncExitStack = field(repr=False)

    async def all_letters(self, *, values: bool = True) -> KnownLetters:
        """All letters, from the topics alone, up to their current ends."""
        letters = await scan(self.reader, self.dlq_topics, self.topics, values=values)
        await self.log.catch_up()
        return KnownLetters(letters, self.log.ledger)

    async def indexed_letters(self) -> KnownLetters:
        """The letters from the index, or from the topics if Postgres is down; without values."""
        if self.settings.postgres.dsn:
            try:
                return await read_index(self.settings.postgres)
            except SinkUnavailableError as error:
                log.warning("postgres_away", code=error.code, read_instead="topics")
        return await self.all_letters(values=False)

    async def publisher(self) -> Publisher:
        """An open publisher, closed with the connections; makes the ledger writable."""
        kafka = self.settings.kafka
        publisher = Publisher(kafka, client_id=f"{kafka.client_id}-dlq")
        await publisher.open()
        self.resources.push_async_callback(publisher.close)
        self.log.write_with(publisher)
        return publisher


async def dlq_topics_of(settings: Settings) -> list[str]:
    """The dead-letter topics of this system: those that exist, and those of its pipelines.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    existing = await dead_letter_topics(settings.kafka, settings.topics.prefix)
    names = [topic.name for topic in topic_table(settings, installed_pipelines(settings.pipelines))]
    return sorted({*existing, *(name for name in names if name.startswith(DLQ_PREFIX))})


@asynccontextmanager
async def open_connections(settings: Settings) -> AsyncIterator[LetterConnections]:
    """Connect to Kafka.

    Raises:
        SchemaRegistryError: a registry is set and does not answer.
        KafkaUnavailableError: no broker answers.
    """
    await use_schema_ids(settings)
    topics = Topics(settings.topics)
    async with AsyncExitStack() as resources:
        client_id = f"{settings.kafka.client_id}-dlq"
        reader = await resources.enter_async_context(LogReader(settings.kafka, client_id=client_id))
        yield LetterConnections(
            settings=settings,
            topics=topics,
            dlq_topics=await dlq_topics_of(settings),
            reader=reader,
            log=ActionLog(reader, topics),
            resources=resources,
        )
