"""Faust's consumer with two corrections that our delivery promise rests on."""

from __future__ import annotations

from typing import Any

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.transport.drivers import aiokafka as driver


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Assigns by range: one process gets the same partition of all co-partitioned topics.

    Faust takes round robin for an application without tables, which splits partition *i* of
    several topics between members. The strategy of the aiokafka consumer is replaced before
    it starts.
    """

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        if not hasattr(consumer, "_partition_assignment_strategy"):
            raise RuntimeError("aiokafka has no _partition_assignment_strategy: check the pin")
        consumer._partition_assignment_strategy = [RangePartitionAssignor]
        return consumer


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Commits nothing for a record of an earlier generation.

    After a rebalance such a record belongs to its next owner and is delivered again; Faust
    would commit past it if the partition came back to this process.
    """

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def ack(self, message: Any) -> bool:
        """Note that a record is done, if it is still ours."""
        if message.generation_id != self.app.consumer_generation_id:
            self.unacked.discard(message)
            return False
        return bool(super().ack(message))


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with our consumer."""

    Consumer = Consumer
