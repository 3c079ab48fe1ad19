"""Asks the coordinator of a consumer group, and takes its errors for errors.

aiokafka's admin client ignores an error that is about the whole group: while a coordinator loads
its groups, or for an account without the right, a group has neither positions nor members there.

Source of the formats: Apache Kafka, "OffsetFetch API", version 2 on, and "DescribeGroups API".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import OffsetAndMetadata

from streams.kafka.positions import Place


async def stored_positions(
    client: AIOKafkaAdminClient, group: str, places: Iterable[Place]
) -> Mapping[Place, OffsetAndMetadata]:
    """The positions of a group with what was written beside them, where it has some.

    Raises:
        KafkaError: the broker did not answer, or refuses; retriable while the coordinator of the
            group is being elected or loads its groups.
    """
    wanted: dict[str, set[int]] = defaultdict(set)
    for topic, partition in places:
        wanted[topic].add(partition)
    request = OffsetFetchRequest(group, [(topic, sorted(each)) for topic, each in wanted.items()])
    answer = await client._send_request(request, await _coordinator(client, group))
    _raise_for(getattr(answer, "error_code", 0), group)
    found = {}
    for topic, partitions in answer.topics:
        for partition, offset, metadata, code in partitions:
            _raise_for(code, topic)
            if offset >= 0:
                found[topic, partition] = OffsetAndMetadata(offset, metadata or "")
    return found


async def described_members(client: AIOKafkaAdminClient, group: str) -> Sequence[Any]:
    """The members of a group as the broker describes them; empty for a group that never was.

    Raises:
        KafkaError: as :func:`stored_positions`.
    """
    # aiokafka 0.14 cannot decode an answer about several groups.
    request = DescribeGroupsRequest(groups=[group], include_authorized_operations=False)
    answer = await client._send_request(request, await _coordinator(client, group))
    code, _name, _state, _kind, _assignor, members, *_ = answer.groups[0]
    _raise_for(code, group)
    found: Sequence[Any] = members
    return found


async def _coordinator(client: AIOKafkaAdminClient, group: str) -> int:
    try:
        found: int = await client.find_coordinator(group)
    except GroupAuthorizationFailedError as error:
        # The client's own error has a sentence where others name the group.
        raise GroupAuthorizationFailedError(group) from error
    return found


def _raise_for(code: int, about: str) -> None:
    if code:
        raise for_code(code)(about)
