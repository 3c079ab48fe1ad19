"""Faust's thread with the client of Kafka in it, corrected where our delivery promise needs it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver

from streams.kafka.consumers import isolation_level
from streams.kafka.fetch.records import install
from streams.kafka.group_note import written_note

# While a fetch waits, it gets no new records for partitions that were left out because their
# records still waited in the client. Faust's 1.5 s would starve a lane that has just become free.
_FETCH_WAIT_MS = 200


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Assigns by range: one process gets the same partition of all co-partitioned topics.

    For an application without tables Faust assigns round robin, which splits partition *i* of
    several topics between members. Faust also reads records of uncommitted transactions. This
    class replaces both settings of the aiokafka consumer before it starts.
    """

    def _create_worker_consumer(self, transport: Any) -> Any:
        install()
        consumer = super()._create_worker_consumer(transport)
        replaced = {
            "_partition_assignment_strategy": [RangePartitionAssignor],
            "_fetch_max_wait_ms": _FETCH_WAIT_MS,
            "_isolation_level": isolation_level(committed=transport.app.reads_committed),
        }
        for name, value in replaced.items():
            if not hasattr(consumer, name):
                raise RuntimeError(f"aiokafka has no {name}: check the pin")
            setattr(consumer, name, value)
        self._app, self._committed = transport.app, dict[TopicPartition, int]()
        consumer.commit = partial(self._commit_with_note, consumer.commit)
        return consumer

    async def seek_to_committed(self) -> Any:
        """Seek back to the committed offsets, and to the beginning of a partition without one.

        Faust does not move a partition without a committed offset. Records that a poll had just
        brought during a rebalance were then dropped, and the next commit went past them.
        """
        return await self.call_thread(self._seek_back)

    async def _commit_with_note(
        self, commit: Callable[..., Awaitable[None]], offsets: Mapping[TopicPartition, Any]
    ) -> None:
        """Commit offsets, with the application's note as the metadata of each."""
        note = written_note(self._app.note(), time.time())
        wanted = {tp: at if isinstance(at, int) else at.offset for tp, at in offsets.items()}
        await commit({tp: OffsetAndMetadata(offset, note) for tp, offset in wanted.items()})
        self._committed.update(wanted)

    async def commit_back(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit offsets, whatever is committed now; runs in the consumer's thread."""
        consumer = self._ensure_consumer()
        await consumer.commit({TopicPartition(*tp): offset for tp, offset in offsets.items()})

    async def commit_note(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit these offsets but those that a commit has passed meanwhile."""
        places = {TopicPartition(*place): offset for place, offset in offsets.items()}
        known = self._committed
        current = {tp: offset for tp, offset in places.items() if offset >= known.get(tp, 0)}
        if current:
            await self._ensure_consumer().commit(current)

    async def _seek_back(self) -> Any:
        consumer = self._ensure_consumer()
        committed = await consumer.seek_to_committed()
        without = [tp for tp, offset in committed.items() if not offset]
        if without:
            await consumer.seek_to_beginning(*without)
        return committed
