"""The parts that all indexers of a process share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.topics import Topics
from sinks.letters.writer import DeadLetterWriter
from sinks.waiting import WaitLog
from streams.kafka.dead_letters import DeadLetters
from streams.kafka.publisher import Publisher
from streams.settings import KafkaSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexerParts:
    """Names, connections and settings, for every partition of this process."""

    group: str
    kafka: KafkaSettings
    topics: Topics
    dlq_topics: Sequence[str]
    partitions: dict[str, int]
    """By topic, the number of partitions in the topic table; a topic may have more."""
    writer: DeadLetterWriter
    publisher: Publisher
    dead_letters: DeadLetters
    waits: WaitLog = field(default_factory=WaitLog)
