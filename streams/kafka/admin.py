"""Creates, lists and checks topics by the declared table."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    KafkaError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.structs import OffsetAndMetadata

from schemas.findings import described, fatal
from schemas.topic_rules import ConfigDifference, TopicFacts, partition_findings
from schemas.topics import Topic, TopicsSettings
from streams.errors import TopicNotCreatedError, TopicsDifferError
from streams.kafka.allowed import Allowed, allowed_on_groups, allowed_on_topics
from streams.kafka.connection import admin_client
from streams.kafka.group_requests import described_members, stored_positions
from streams.kafka.refusal import unavailable, why_unavailable
from streams.kafka.topic_ids import topic_ids
from streams.settings import KafkaSettings

T = TypeVar("T")

_POLL_S = 0.05
_EXISTS = (0, TopicAuthorizationFailedError.errno)
"""A topic that we may not describe is treated as existing."""
_OF_TOPIC = 1
"""Kafka's ``DYNAMIC_TOPIC_CONFIG``: the value was set for the topic itself."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a consumer group."""

    id: str
    partitions: frozenset[int]
    """Partitions of any of the group's topics."""


class Admin:
    """Administers topics and reads a group's committed offsets. Every call is bounded."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._timeout_s = kafka.request_timeout_s
        self._client = admin_client(kafka, client_id=f"{kafka.client_id}-admin")

    async def __aenter__(self) -> Admin:
        """Connect; KafkaUnavailableError if no broker answers, or if it refuses us."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.start()
        except (KafkaError, TimeoutError) as error:
            raise await why_unavailable(self._kafka, error) from error
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

    async def on_cluster(self, settings: TopicsSettings) -> TopicsSettings:
        """The settings; an unset number of copies becomes the one that this cluster takes.

        Raises:
            KafkaUnavailableError: the broker did not answer.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                cluster = await self._client.describe_cluster()
        except (KafkaError, TimeoutError) as error:
            raise unavailable(error, "the brokers") from error
        return settings.on_cluster(len(cluster["brokers"]))

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str] | None:
        """The ids of the topics that exist; None: the broker knows no ids.

        Raises:
            KafkaUnavailableError: the broker did not answer.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await topic_ids(self._client._client, topics)
        except (KafkaError, TimeoutError) as error:
            raise unavailable(error, "the ids of topics") from error

    async def allowed(
        self, topics: Sequence[str], groups: Sequence[str] = ()
    ) -> tuple[Allowed, Allowed]:
        """What this account may do with topics, and with consumer groups.

        Raises:
            KafkaUnavailableError: the broker did not answer.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                on_topics = await allowed_on_topics(self._client, topics)
                return on_topics, await self._when_elected(
                    lambda: allowed_on_groups(self._client, groups)
                )
        except (KafkaError, TimeoutError) as error:
            raise unavailable(error, "the rights") from error

    async def facts(self, topics: Sequence[str]) -> dict[str, TopicFacts]:
        """The cluster's description of each of these topics that exists.

        A value that the account may not read is None in the answer.

        Raises:
            KafkaUnavailableError: the broker did not answer.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                described = await self._client.describe_topics(list(topics))
                found = [entry for entry in described if entry["error_code"] in _EXISTS]
                configs = await self._configs([entry["topic"] for entry in found])
        except (KafkaError, TimeoutError) as error:
            raise unavailable(error, "the topics") from error
        return {entry["topic"]: _facts(entry, configs.get(entry["topic"])) for entry in found}

    async def _configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        """The configuration of topics; a topic whose configuration is denied is left out."""
        entries = await self._config_entries(topics)
        return {
            name: {key: value for key, value, *_ in found if value is not None}
            for name, found in entries.items()
        }

    async def _config_entries(self, topics: Sequence[str]) -> dict[str, list[Any]]:
        if not topics:
            return {}
        wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
        answers = await self._client.describe_configs(wanted)
        return {
            name: entries
            for answer in answers
            for error_code, _message, _kind, name, entries in answer.resources
            if error_code == 0
        }

    async def alter(self, differences: Sequence[ConfigDifference]) -> None:
        """Set these values; other values of the topics stay.

        Raises:
            KafkaUnavailableError: the broker did not answer; some values may be set.
            TopicsDifferError: the cluster refuses a value; others are set.
        """
        changes: dict[str, dict[str, str]] = defaultdict(dict)
        for one in differences:
            changes[one.topic][one.name] = one.wanted
        if not changes:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                # The request replaces all values that were set for a topic.
                entries = await self._config_entries(list(changes))
                wanted = [
                    ConfigResource(
                        ConfigResourceType.TOPIC, name, {**_set_here(entries.get(name, [])), **new}
                    )
                    for name, new in changes.items()
                ]
                answers = await self._client.alter_configs(wanted)
        except (KafkaError, TimeoutError) as error:
            raise unavailable(error, "the topics") from error
        for answer in answers:
            for error_code, message, _kind, name, *_ in answer.resources:
                if error_code:
                    kind = for_code(error_code).__name__
                    raise TopicsDifferError(f"{name}: {kind}: {message or 'refused'}")

    async def apply(
        self, table: Sequence[Topic], settings: TopicsSettings | None = None
    ) -> list[str]:
        """Create the topics that are missing; return their names.

        Args:
            table: the topics.
            settings: the source of the table, so that an error can name the setting that differs.

        Raises:
            TopicsDifferError: an existing topic has a number of partitions that cannot be used.
                Nothing was created.
            TopicNotCreatedError: the cluster refuses to create one.
        """
        existing = await self.facts([topic.name for topic in table])
        wrong = fatal(partition_findings(table, existing, settings or _assumed(table)))
        if wrong:
            raise TopicsDifferError("; ".join(map(described, wrong)))
        missing = [topic for topic in table if topic.name not in existing]
        if missing:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.create_topics([_new_topic(topic) for topic in missing])
            for name, error_code, *message in answer.topic_errors:
                error = for_code(error_code)
                if error_code and error is not TopicAlreadyExistsError:
                    raise _not_created(name, error, message[0] if message else "", missing[0])
            await self._wait_for_leaders([topic.name for topic in missing])
        return [topic.name for topic in missing]

    async def _wait_for_leaders(self, topics: Sequence[str]) -> None:
        """Wait until every partition can be written: a new topic exists before it has leaders."""
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
        """The committed offset of a group in each of these partitions that has one.

        While a coordinator is being elected it waits, within the request timeout.

        Raises:
            KafkaUnavailableError: the broker did not answer.
        """
        found = await self.commits(group, partitions)
        return {place: commit.offset for place, commit in found.items()}

    async def commits(
        self, group: str, partitions: Sequence[tuple[str, int]]
    ) -> Mapping[tuple[str, int], OffsetAndMetadata]:
        """As :meth:`committed`, with what a member of the group wrote beside each offset.

        Raises:
            KafkaUnavailableError: the broker did not answer.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._when_elected(
                    lambda: stored_positions(self._client, group, partitions)
                )
        except (KafkaError, TimeoutError) as error:
            raise unavailable(error, f"offsets of {group}") from error

    async def members(self, groups: Sequence[str]) -> dict[str, int]:
        """The number of members of each of these groups; 0 also for a group that never was.

        Raises:
            KafkaUnavailableError: the broker did not answer.
        """
        found = {}
        try:
            async with asyncio.timeout(self._timeout_s):
                for group in groups:
                    found[group] = len(await self._described_members(group))
        except (KafkaError, TimeoutError) as error:
            raise unavailable(error, "the members of groups") from error
        return found

    async def assignments(self, group: str) -> list[Member]:
        """The members of a group with the partitions that it has assigned to them.

        Raises:
            KafkaUnavailableError: the broker did not answer.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                members = await self._described_members(group)
        except (KafkaError, TimeoutError) as error:
            raise unavailable(error, "the members of groups") from error
        return [Member(id=member[0], partitions=_assigned(member[4])) for member in members]

    async def _described_members(self, group: str) -> Sequence[Any]:
        return await self._when_elected(lambda: described_members(self._client, group))

    async def _when_elected(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer about a group; while its coordinator is elected or loads, ask again."""
        while True:
            try:
                return await ask()
            except KafkaError as error:
                if not error.retriable:
                    raise
            await asyncio.sleep(_POLL_S)


def _assigned(assignment: bytes) -> frozenset[int]:
    """The partitions of a member; empty while the group is rebalancing."""
    if not assignment:
        return frozenset()
    decoded = ConsumerProtocol.ASSIGNMENT.decode(assignment)
    return frozenset(partition for _, parts in decoded.assignment for partition in parts)


def _assumed(table: Sequence[Topic]) -> TopicsSettings:
    """The settings that match a table which was not made from settings."""
    first = table[0] if table else None
    return TopicsSettings(partitions=first.partitions) if first else TopicsSettings()


def _facts(entry: Any, config: dict[str, str] | None) -> TopicFacts:
    if entry["error_code"]:
        return TopicFacts(partitions=None, replication_factor=None, config=config)
    partitions = entry["partitions"]
    return TopicFacts(
        partitions=len(partitions),
        replication_factor=min((len(p["replicas"]) for p in partitions), default=0),
        config=config,
    )


def _set_here(entries: Sequence[Any]) -> dict[str, str]:
    """The values that were set for the topic itself, among its effective values."""
    return {key: value for key, value, _read_only, source, *_ in entries if source == _OF_TOPIC}


def _not_created(
    name: str, error: type[KafkaError], message: str | None, first: Topic
) -> TopicNotCreatedError:
    advice = {
        InvalidReplicationFactorError: (
            f"the cluster has fewer brokers than ORCH_TOPICS_REPLICATION_FACTOR "
            f"({first.replication_factor}) asks for: set it to the number of brokers, at most 3"
        ),
        InvalidPartitionsError: f"change ORCH_TOPICS_PARTITIONS ({first.partitions})",
        TopicAuthorizationFailedError: "grant CREATE on topics to this account",
        ClusterAuthorizationFailedError: "grant CREATE on the cluster to this account",
        PolicyViolationError: "the cluster's policy for new topics refuses it",
    }.get(error, "see the broker's log")
    said = f" ({message})" if message else ""
    return TopicNotCreatedError(f"{name}: {advice}. {error.__name__}{said}")


def _new_topic(topic: Topic) -> NewTopic:
    return NewTopic(
        name=topic.name,
        num_partitions=topic.partitions,
        replication_factor=topic.replication_factor,
        topic_configs=topic.config,
    )
