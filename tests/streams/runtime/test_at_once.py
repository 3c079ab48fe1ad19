"""What is done at once and published together: when it is acknowledged, and who may go on."""

import asyncio
import time
from collections.abc import Sequence

from streams.kafka.admin import Admin
from streams.kafka.publisher import Outgoing, Publisher
from streams.runtime.delivery import Delivery
from streams.runtime.window import AtOnce
from streams.settings import KafkaSettings
from tests.streams.building import a_consumer, a_record, until


async def waits(delivery: Delivery) -> None:
    raise AssertionError(f"{delivery} could have been done at once")


async def committed(kafka: KafkaSettings, group: str, topic: str) -> int:
    async with Admin(kafka) as admin:
        return (await admin.committed(group, [(topic, 0)])).get((topic, 0), 0)


def echo(delivery: Delivery) -> Outgoing:
    return a_record("out", value=delivery.value)


async def test_nothing_is_acknowledged_before_its_publication(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    await publisher.publish([a_record(topics[0], value=b"%d" % n) for n in range(50)])
    published: list[Outgoing] = []
    written = asyncio.Event()

    async def publish(records: Sequence[Outgoing]) -> None:
        published.extend(records)
        await written.wait()

    async with a_consumer(group, kafka, topics, waits, AtOnce(echo, publish)) as app:
        # More than there are slots, and no more than the window spans.
        await until(lambda: len(published) == 32)
        pending = len(app.pending)
        written.set()
        await until(lambda: len(published) == 50 and not app.pending)
        await app.consumer.commit_all()

    assert pending >= 32
    assert [record.value for record in published] == [b"%d" % n for n in range(50)]
    assert await committed(kafka, group, topics[0]) == 50


async def test_a_publication_that_a_drain_cuts_off_is_delivered_again(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    await publisher.publish([a_record(topics[0], value=b"%d" % n) for n in range(5)])
    seen: list[bytes | None] = []

    async def never(records: Sequence[Outgoing]) -> None:
        seen.extend(record.value for record in records)
        await asyncio.Event().wait()

    async def at_last(records: Sequence[Outgoing]) -> None:
        seen.extend(record.value for record in records)

    async with a_consumer(group, kafka, topics, waits, AtOnce(echo, never)) as app:
        await until(lambda: len(seen) == 5)
        await app.close(0.1)
    async with a_consumer(group, kafka, topics, waits, AtOnce(echo, at_last)):
        await until(lambda: len(seen) == 10)

    assert seen[5:] == seen[:5]


async def test_a_publication_that_fails_stops_the_process(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    await publisher.publish([a_record(topics[0])])

    async def fail(records: Sequence[Outgoing]) -> None:
        raise RuntimeError(f"{len(records)} records may be lost")

    async with a_consumer(group, kafka, topics, waits, AtOnce(echo, fail)) as app:
        await until(app.failed.is_set)
        await app.consumer.commit_all()

    assert await committed(kafka, group, topics[0]) == 0


async def test_work_that_takes_its_time_gives_way_to_others(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    await publisher.publish([a_record(topics[0]) for _ in range(4)])
    turns: list[str] = []

    def slow(delivery: Delivery) -> Outgoing:
        turns.append("work")
        time.sleep(0.03)
        return echo(delivery)

    async def publish(records: Sequence[Outgoing]) -> None:
        turns.append("published")

    async with a_consumer(group, kafka, topics, waits, AtOnce(slow, publish)):
        await until(lambda: turns.count("work") == 4)

    assert turns[:4] != ["work"] * 4
