"""What is sought when a rebalance ends, and what another rebalance has taken meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from streams.runtime.client import RangeConsumer

KEPT, BEGUN, TAKEN = (TopicPartition("t", number) for number in range(3))


class FakeClient:
    """Loses a partition while it asks for the committed offsets."""

    def __init__(self) -> None:
        self.assigned = {KEPT, BEGUN, TAKEN}
        self.sought: dict[TopicPartition, int | str] = {}
        self._coordinator = self._fetcher = self

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.assigned)

    async def fetch_committed_offsets(
        self, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        self.assigned.discard(TAKEN)
        assert set(partitions) == {KEPT, BEGUN, TAKEN}
        return {
            KEPT: OffsetAndMetadata(7, ""),
            BEGUN: OffsetAndMetadata(-1, ""),
            TAKEN: OffsetAndMetadata(3, ""),
        }

    def seek(self, tp: TopicPartition, offset: int) -> None:
        assert tp in self.assigned
        self.sought[tp] = offset

    def request_offset_reset(self, tps: Sequence[TopicPartition], _strategy: Any) -> None:
        assert set(tps) <= self.assigned
        self.sought |= dict.fromkeys(tps, "first")


async def test_a_partition_that_another_rebalance_takes_meanwhile_is_not_sought() -> None:
    consumer, client = RangeConsumer.__new__(RangeConsumer), FakeClient()
    consumer._consumer = client

    assert await consumer.seek_to_committed() == {KEPT: 7, BEGUN: None}
    assert client.sought == {KEPT: 7, BEGUN: "first"}
