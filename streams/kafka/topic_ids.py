"""Asks a broker for the ids of topics: a topic that is made again gets another id.

aiokafka requests metadata up to version 5; answers contain ids from version 10 on.

Source of the format: Apache Kafka, "Metadata API", version 12.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, ClassVar
from uuid import UUID

from aiokafka.errors import (
    IncompatibleBrokerVersion,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

_NO_ID = UUID(int=0)
_ID_BYTES = 16
_NO_AUTO_CREATION = False


class _Uuid(AbstractType):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(_ID_BYTES))


class _MetadataResponseV12(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataV12(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION: ClassVar[bool] = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = _MetadataResponseV12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)
            ),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class MetadataRequestV12(Request[_MetadataV12]):  # type: ignore[misc]
    """Asks for topics, their ids, and on demand what this account may do with them."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str], *, operations: bool = False) -> None:
        self._topics = topics
        self._operations = operations

    def build(self, request_struct_class: type[_MetadataV12]) -> _MetadataV12:
        """The request in the one version that is known here."""
        named: list[tuple[UUID, str, dict[int, bytes]]] = [
            (_NO_ID, topic, {}) for topic in self._topics
        ]
        return request_struct_class(named, _NO_AUTO_CREATION, self._operations, {})


async def topic_ids(client: Any, topics: Sequence[str]) -> Mapping[str, str] | None:
    """The ids of the topics that exist.

    Args:
        client: an ``AIOKafkaClient`` that is connected.
        topics: their names.

    Returns:
        The ids by name. None: the broker is older than Kafka 2.8 and knows no ids.

    Raises:
        KafkaError: the broker did not answer, or returned an error for one of the topics.
    """
    try:
        response = await client.send(client.get_random_node(), MetadataRequestV12(topics))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return None
    found = response.to_object()["topics"]
    failed = [t for t in found if t["error_code"] not in (0, UnknownTopicOrPartitionError.errno)]
    if failed:
        # We may not describe a topic, or the broker is not ready: no id is known.
        raise for_code(failed[0]["error_code"])(failed[0]["name"])
    return {t["name"]: str(t["topic_id"]) for t in found if t["error_code"] == 0}


class Identity:
    """The ids of the topics that a process reads. Pure."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._missing: set[str] = set()

    def look(self, ids: Mapping[str, str | None]) -> str | None:
        """Compare with the ids of the first look; return the first difference, or None.

        Args:
            ids: by topic; None: the topic does not exist. A topic is missing from the mapping
                if its id is unknown, because the broker did not answer or has no ids.
        """
        for topic, topic_id in ids.items():
            known = self._known.get(topic)
            if known is None and topic_id is not None:
                self._known[topic] = topic_id
            elif known is not None and topic_id is None:
                # A broker that has just started may not know all topics yet.
                if topic in self._missing:
                    return f"{topic} does not exist any more, its id was {known}"
                self._missing.add(topic)
                continue
            elif known not in (None, topic_id):
                return f"{topic} was made again: its id was {known}, now it is {topic_id}"
            self._missing.discard(topic)
        return None
