"""A process whose consumer is stuck ends; one that waits for a reason does not."""

import asyncio
import time
from dataclasses import replace

from streams.kafka.publisher import Publisher
from streams.runtime.delivery import Delivery
from streams.runtime.watchdog import watch
from streams.settings import KafkaSettings
from tests.streams.building import a_consumer, a_record, until

STALL_S = 1.0


async def nothing(_: Delivery) -> None:
    """Done at once."""


async def test_a_consumer_that_stops_reading_ends_its_process(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    impatient = replace(kafka, stall_timeout_s=STALL_S)
    async with a_consumer(group, impatient, topics, nothing) as app:
        await until(lambda: bool(app.consumer.readable()))
        watching = asyncio.create_task(watch(app))
        await app._fetcher.stop()
        # A poll that was under way in the consumer's thread may still take the first ones.
        async with asyncio.timeout(30):
            while not app.failed.is_set():
                await publisher.publish([a_record(topics[0])])
                await asyncio.sleep(0.1)
        await watching

    assert app.failed.is_set()


async def test_a_consumer_with_nothing_to_read_or_no_room_is_left_alone(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    impatient = replace(kafka, stall_timeout_s=STALL_S)
    async with a_consumer(group, impatient, topics, nothing) as app:
        await until(lambda: bool(app.consumer.readable()))
        watching = asyncio.create_task(watch(app))
        app.full_topics = lambda: frozenset(topics[:1])
        await publisher.publish([a_record(topics[0]) for _ in range(3)])
        # topics[1] has no lag, topics[0] must not be read.
        end_s = time.monotonic() + 3 * STALL_S
        await until(lambda: time.monotonic() > end_s)
        failed = app.failed.is_set()
        watching.cancel()

    assert not failed
