"""A partition that does not acknowledge is closed for callers; the others stay open."""

import asyncio
import uuid
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from orchestrator.api.errors import ApiError
from orchestrator.api.replica.producer import TaskProducer
from schemas.records import Json, Millis, TaskCreated, TaskId
from schemas.topics import Topics, TopicsSettings
from streams.kafka.admin import Admin
from streams.kafka.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings

SLOW = 0
TASK = TaskCreated(
    task_id=TaskId("task"), tenant_id="acme", type="rag", input=Json("{}"), created_at=Millis(5)
)


class SlowPublisher(Publisher):
    """Sends what is for one partition when it is told to, as if its leader were away."""

    def __init__(self, kafka: KafkaSettings, there: asyncio.Event) -> None:
        super().__init__(kafka, client_id="test")
        self._there = there

    async def publish(self, records: Sequence[Outgoing]) -> list[int]:
        if any(record.partition == SLOW for record in records):
            await self._there.wait()
        return await super().publish(records)


class SlowProducer(TaskProducer):
    """One whose publisher is slow for a partition."""

    def __init__(self, kafka: KafkaSettings, topics: Topics) -> None:
        super().__init__(kafka, topics, timeout_s=3.0)
        self.there = asyncio.Event()
        self._settings = kafka

    def _new_publisher(self) -> Publisher:
        return SlowPublisher(self._settings, self.there)


async def a_producer(kafka_bootstrap: str) -> SlowProducer:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    settings = TopicsSettings(
        prefix=f"s{uuid.uuid4().hex[:8]}.", partitions=3, replication_factor=1
    )
    topics = Topics(settings)
    async with Admin(kafka) as admin:
        await admin.apply(topics.table([]))
    producer = SlowProducer(kafka, topics)
    await producer.open()
    return producer


def tasks_of(producer: TaskProducer, *partitions: int) -> list[TaskCreated]:
    """A new task for each of these partitions."""
    found = []
    for partition in partitions:
        while producer.partition(task_id := TaskId(uuid.uuid4().hex)) != partition:
            pass
        found.append(replace(TASK, task_id=task_id))
    return found


async def test_one_slow_partition_closes_no_other_one(kafka_bootstrap: str) -> None:
    producer = await a_producer(kafka_bootstrap)
    with pytest.raises(ApiError, match="in time"):
        await producer.create(tasks_of(producer, 1, SLOW, 2))

    landed = await producer.create(tasks_of(producer, 1, 2))
    with pytest.raises(ApiError, match="does not answer"):
        await producer.create(tasks_of(producer, 1, SLOW))
    producer.there.set()
    async with asyncio.timeout(20):
        while True:
            try:
                back = await producer.create(tasks_of(producer, SLOW))
                break
            except ApiError:
                await asyncio.sleep(0.02)
    await producer.close()

    # What went beside the slow one landed at once, before these.
    assert landed == [(1, 1), (2, 1)]
    assert back == [(SLOW, 1)]


async def test_offsets_are_in_the_order_of_the_records_whatever_their_partitions(
    kafka_bootstrap: str,
) -> None:
    producer = await a_producer(kafka_bootstrap)
    producer.there.set()

    landed = await producer.create(tasks_of(producer, 2, SLOW, 2, 1, SLOW))
    nothing = await producer.create([])
    await producer.close()

    assert landed == [(2, 0), (SLOW, 0), (2, 1), (1, 0), (SLOW, 1)]
    assert nothing == []
