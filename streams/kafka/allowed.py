"""Asks a broker what this account may do with topics and consumer groups.

aiokafka asks for neither: its metadata requests are older, and its answer about groups leaves the
operations out.

Source of the formats: Apache Kafka, "Metadata API", version 12, and "DescribeGroups API",
version 3; the numbers of the operations are those of ``AclOperation``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Bytes, Int16, Int32, Schema, String

from streams.kafka.topic_ids import MetadataRequestV12

Allowed = Mapping[str, frozenset[str] | None]
"""The operations on each resource, by its name; None: the broker does not say."""

_NAMES = {
    3: "Read",
    4: "Write",
    5: "Create",
    6: "Delete",
    7: "Alter",
    8: "Describe",
    10: "DescribeConfigs",
    11: "AlterConfigs",
}
_NOT_SAID = -(2**31)
_NOTHING: frozenset[str] = frozenset()


async def allowed_on_topics(client: AIOKafkaAdminClient, topics: Sequence[str]) -> Allowed:
    """What this account may do with the topics that exist.

    A topic that it may not describe has no operations: whether it exists is not known.

    Raises:
        KafkaError: the broker did not answer.
    """
    request = MetadataRequestV12(topics, operations=True)
    try:
        answer = await client._send_request(request)
    except (IncompatibleBrokerVersion, NotImplementedError):
        return dict.fromkeys(topics)
    found: dict[str, frozenset[str] | None] = {}
    for topic in answer.to_object()["topics"]:
        if topic["error_code"] == TopicAuthorizationFailedError.errno:
            found[topic["name"]] = _NOTHING
        elif topic["error_code"] == 0:
            found[topic["name"]] = _operations(topic["authorized_operations"])
    return found


async def allowed_on_groups(client: AIOKafkaAdminClient, groups: Sequence[str]) -> Allowed:
    """What this account may do with consumer groups, which need not exist.

    Raises:
        KafkaError: the broker did not answer, or the coordinator of a group is being elected.
    """
    return {group: await _allowed_on_group(client, group) for group in groups}


async def _allowed_on_group(client: AIOKafkaAdminClient, group: str) -> frozenset[str] | None:
    try:
        coordinator = await client.find_coordinator(group)
        answer = await client._send_request(_DescribeGroupRequest(group), coordinator)
    except GroupAuthorizationFailedError:
        return _NOTHING
    except (IncompatibleBrokerVersion, NotImplementedError):
        return None
    [described] = answer.to_object()["groups"]
    if described["error_code"] == GroupAuthorizationFailedError.errno:
        return _NOTHING
    return None if described["error_code"] else _operations(described["authorized_operations"])


def _operations(bits: int) -> frozenset[str] | None:
    if bits == _NOT_SAID:
        return None
    return frozenset(name for number, name in _NAMES.items() if bits & (1 << number))


class _DescribeGroupsResponseV3(Response):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group", String("utf-8")),
                ("state", String("utf-8")),
                ("protocol_type", String("utf-8")),
                ("protocol", String("utf-8")),
                (
                    "members",
                    Array(
                        ("member_id", String("utf-8")),
                        ("client_id", String("utf-8")),
                        ("client_host", String("utf-8")),
                        ("member_metadata", Bytes),
                        ("member_assignment", Bytes),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
    )


class _DescribeGroupsV3(RequestStruct):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = _DescribeGroupsResponseV3
    SCHEMA = Schema(("groups", Array(String("utf-8"))), ("include_operations", Boolean))


class _DescribeGroupRequest(Request[_DescribeGroupsV3]):  # type: ignore[misc]
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_DescribeGroupsV3]) -> Any:
        return request_struct_class([self._group], True)
