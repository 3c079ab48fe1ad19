"""Topics as the table says: created, listed, checked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.structs import TopicPartition

from schemas.topics import Topic
from streams.errors import KafkaUnavailableError, TopicsDifferError
from streams.settings import KafkaSettings
from streams.topic_ids import topic_ids

_POLL_S = 0.05


class Admin:
    """Administers topics and reads a group's committed offsets. Every call is bounded."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._timeout_s = kafka.request_timeout_s
        self._client = AIOKafkaAdminClient(
            bootstrap_servers=kafka.servers,
            client_id=f"{kafka.client_id}-admin",
            request_timeout_ms=int(kafka.request_timeout_s * 1000),
        )

    async def __aenter__(self) -> Admin:
        """Connect; KafkaUnavailableError if no broker answers."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.start()
        except (KafkaError, TimeoutError) as error:
            raise KafkaUnavailableError(f"no broker answers: {error!r}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def partition_counts(self, topics: Sequence[str]) -> dict[str, int]:
        """The number of partitions of each of these topics that exists."""
        async with asyncio.timeout(self._timeout_s):
            described = await self._client.describe_topics(list(topics))
        return {
            entry["topic"]: len(entry["partitions"])
            for entry in described
            if entry["error_code"] == 0
        }

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str] | None:
        """The ids of those topics that exist; None: the broker knows no ids.

        Raises:
            KafkaUnavailableError: the broker did not answer.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await topic_ids(self._client._client, topics)
        except (KafkaError, TimeoutError) as error:
            raise KafkaUnavailableError(f"the ids of topics: {error!r}") from error

    async def apply(self, table: Sequence[Topic]) -> list[str]:
        """Create the topics that are missing; return their names.

        Raises:
            TopicsDifferError: a topic exists with another number of partitions, which cannot
                be changed in place (a task's owner is found by it). Nothing was created.
        """
        existing = await self.partition_counts([topic.name for topic in table])
        check_partitions(table, existing)
        missing = [topic for topic in table if topic.name not in existing]
        if missing:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.create_topics([_new_topic(topic) for topic in missing])
            for name, error_code, *_ in answer.topic_errors:
                error = for_code(error_code)
                if error_code and error is not TopicAlreadyExistsError:
                    raise TopicsDifferError(f"{name}: {error.__name__}")
            await self._wait_for_leaders([topic.name for topic in missing])
        return [topic.name for topic in missing]

    async def _wait_for_leaders(self, topics: Sequence[str]) -> None:
        """Until every partition can be written: a new topic is named before it has leaders."""
        async with asyncio.timeout(self._timeout_s):
            while True:
                described = await self._client.describe_topics(list(topics))
                partitions = [p for entry in described for p in entry["partitions"]]
                if (
                    len(described) == len(topics)
                    and all(entry["error_code"] == 0 and entry["partitions"] for entry in described)
                    and all(p["error_code"] == 0 and p["leader"] >= 0 for p in partitions)
                ):
                    return
                await asyncio.sleep(_POLL_S)

    async def committed(
        self, group: str, partitions: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], int]:
        """The committed offset of a group in each of these partitions where it has one.

        Waits out a coordinator that is still being elected, within the request timeout.
        """
        wanted = [TopicPartition(topic, partition) for topic, partition in partitions]
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._offsets(group, wanted)
        except (KafkaError, TimeoutError) as error:
            raise KafkaUnavailableError(f"offsets of {group}: {error!r}") from error
        return {
            (tp.topic, tp.partition): stored.offset
            for tp, stored in found.items()
            if stored.offset >= 0
        }

    async def _offsets(self, group: str, wanted: Sequence[TopicPartition]) -> Any:
        while True:
            try:
                return await self._client.list_consumer_group_offsets(group, partitions=wanted)
            except KafkaError as error:
                if not error.retriable:
                    raise
            await asyncio.sleep(_POLL_S)


def check_partitions(table: Sequence[Topic], existing: dict[str, int]) -> None:
    """Compare topics that exist with the table.

    Raises:
        TopicsDifferError: some topic has another number of partitions.
    """
    wrong = [
        f"{topic.name} has {existing[topic.name]} partitions, the table says {topic.partitions}"
        for topic in table
        if topic.name in existing and existing[topic.name] != topic.partitions
    ]
    if wrong:
        raise TopicsDifferError("; ".join(wrong))


def _new_topic(topic: Topic) -> NewTopic:
    return NewTopic(
        name=topic.name,
        num_partitions=topic.partitions,
        replication_factor=topic.replication_factor,
        topic_configs=topic.config,
    )
