"""How Faust is used: what is promised of delivery, against a real broker."""

import asyncio
import uuid
from collections import defaultdict
from pathlib import Path

import pytest

from streams.kafka.admin import Admin
from streams.kafka.publisher import Outgoing, Publisher
from streams.runtime.delivery import Delivery
from streams.settings import KafkaSettings
from tests.streams.building import Work, a_consumer, a_record, a_topic, until


async def committed(kafka: KafkaSettings, group: str, topic: str, partition: int = 0) -> int | None:
    async with Admin(kafka) as admin:
        found = await admin.committed(group, [(topic, partition)])
        return found.get((topic, partition))


async def test_a_record_arrives_byte_for_byte(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    headers: list[tuple[str, bytes | None]] = [("a", b"1"), ("a", None), ("b", b"\xff")]
    sent = Outgoing(
        topic=topics[0], partition=0, key=None, value=None, headers=headers, timestamp_ms=123_456
    )
    await publisher.publish([sent])
    seen: list[Delivery] = []

    async def work(delivery: Delivery) -> None:
        seen.append(delivery)

    async with a_consumer(group, kafka, topics, work):
        await until(lambda: len(seen) == 1)

    origin = seen[0].origin
    assert (origin.key, origin.value, list(origin.headers)) == (None, None, headers)
    assert origin.timestamp_ms == 123_456


async def test_nothing_is_committed_past_unfinished_work(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    await publisher.publish([a_record(topics[0], value=b"%d" % n) for n in range(6)])
    finished: list[int] = []
    never = asyncio.Event()

    async def work(delivery: Delivery) -> None:
        if delivery.offset == 2:
            await never.wait()
        finished.append(delivery.offset)

    async with a_consumer(group, kafka, topics, work) as app:
        await until(lambda: sorted(finished) == [0, 1, 3, 4, 5])
        await app.consumer.commit()

    assert await committed(kafka, group, topics[0]) == 2


async def test_unfinished_work_is_delivered_again(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    await publisher.publish([a_record(topics[0], value=b"%d" % n) for n in range(4)])
    first: list[int] = []
    again: list[int] = []
    never = asyncio.Event()

    async def stuck(delivery: Delivery) -> None:
        first.append(delivery.offset)
        if delivery.offset >= 1:
            await never.wait()

    async def work(delivery: Delivery) -> None:
        again.append(delivery.offset)

    async with a_consumer(group, kafka, topics, stuck):
        await until(lambda: len(first) == 4)
    async with a_consumer(group, kafka, topics, work):
        await until(lambda: len(again) == 3)

    assert again == [1, 2, 3]


async def test_work_that_raises_stops_the_application_and_commits_nothing(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    await publisher.publish([a_record(topics[0])])

    async def work(_: Delivery) -> None:
        raise RuntimeError("a fault")

    async with a_consumer(group, kafka, topics, work) as app:
        await until(app.failed.is_set)

    assert await committed(kafka, group, topics[0]) is None


async def test_a_rebalance_waits_for_stuck_work_no_longer_than_its_bound(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    await publisher.publish([a_record(topics[0], partition) for partition in range(2)])
    stuck: list[Delivery] = []
    cancelled: list[int] = []
    never = asyncio.Event()

    async def hang(delivery: Delivery) -> None:
        stuck.append(delivery)
        try:
            await never.wait()
        except asyncio.CancelledError:
            cancelled.append(delivery.partition)
            raise

    async def work(delivery: Delivery) -> None:
        taken.add(delivery.partition)

    taken: set[int] = set()
    async with a_consumer(group, kafka, topics, hang):
        await until(lambda: len(stuck) == 2)
        async with a_consumer(group, kafka, topics, work):
            await until(lambda: len(taken) == 1)

    assert sorted(cancelled[:2]) == [0, 1]
    assert all(delivery.stale() for delivery in stuck[:2])


async def test_a_record_of_before_a_rebalance_is_not_committed_after_it(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    await publisher.publish([a_record(topics[0], partition) for partition in range(2)])
    taken: list[Delivery] = []
    never = asyncio.Event()

    async def hang(delivery: Delivery) -> None:
        taken.append(delivery)
        await never.wait()

    async with a_consumer(group, kafka, topics, hang) as first:
        await until(lambda: len(taken) == 2)
        async with a_consumer(group, kafka, topics, hang) as second:
            await until(lambda: len(taken) == 4)
            # One partition went to the second process, the other one came back to the first.
            for delivery in taken[:2]:
                delivery.ack()
            for app in (first, second):
                await app.consumer.commit()

            assert all(delivery.stale() for delivery in taken[:2])
            assert [await committed(kafka, group, topics[0], p) for p in range(2)] == [None, None]


async def test_one_process_gets_the_same_partition_of_all_topics(
    kafka: KafkaSettings, group: str, publisher: Publisher
) -> None:
    # With three partitions round robin would split them; with two it would not, by chance.
    topics = [f"co-{uuid.uuid4()}" for _ in range(2)]
    async with Admin(kafka) as admin:
        await admin.apply([a_topic(topic, partitions=3) for topic in topics])
    owners: dict[int, set[str]] = defaultdict(set)
    seen: set[tuple[str, int]] = set()

    def work_of(name: str) -> Work:
        async def work(delivery: Delivery) -> None:
            owners[delivery.partition].add(name)
            seen.add((delivery.topic, delivery.partition))

        return work

    async with (
        a_consumer(group, kafka, topics, work_of("first")) as first,
        a_consumer(group, kafka, topics, work_of("second")) as second,
    ):
        apps = (first, second)
        await until(lambda: sum(len(app.consumer.assignment()) for app in apps) == 6)
        await publisher.publish([a_record(topic, p) for topic in topics for p in range(3)])
        await until(lambda: len(seen) == 6)

    assert [len(names) for names in owners.values()] == [1, 1, 1]
    assert set.union(*owners.values()) == {"first", "second"}


async def test_an_application_leaves_nothing_in_its_folder(
    kafka: KafkaSettings,
    group: str,
    topics: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    async def work(delivery: Delivery) -> None:
        """Nothing comes."""

    async with a_consumer(group, kafka, topics, work) as app:
        await until(lambda: len(app.consumer.assignment()) > 0)

    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240  # nothing else runs


async def test_what_is_dropped_during_a_rebalance_is_read_again_also_without_a_committed_offset(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    seen: list[int] = []
    never = asyncio.Event()

    async def work(delivery: Delivery) -> None:
        seen.append(delivery.offset)
        await never.wait()

    async with a_consumer(group, kafka, topics, work) as app:
        await publisher.publish([a_record(topics[0]), a_record(topics[0])])
        await until(lambda: seen == [0, 1])
        # As a poll does that ends while the partitions are being given away.
        await app.consumer.perform_seek()
        await until(lambda: seen == [0, 1, 0, 1])
