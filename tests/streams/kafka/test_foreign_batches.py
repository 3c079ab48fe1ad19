"""Batches of foreign producers, through the real broker and each of our readers."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaProducer

from schemas.dead_letter import Origin
from streams.kafka.follower import Follower
from streams.kafka.log_reader import LogReader
from streams.runtime.delivery import Delivery
from streams.settings import KafkaSettings
from tests.streams.building import a_consumer, until
from tests.streams.kafka.batches import CODECS, a_batch, resealed, send_raw

Seen = list[tuple[int, object]]
Read = Callable[[KafkaSettings, str, str, int], Awaitable[Seen]]


def shape(record: Origin) -> tuple[int, object]:
    """Offset, and the value or the code of the fault."""
    return record.offset, record.value if record.fault is None else record.fault.code


async def by_the_application(kafka: KafkaSettings, topic: str, group: str, count: int) -> Seen:
    seen: Seen = []

    async def work(delivery: Delivery) -> None:
        seen.append(shape(delivery.origin))

    async with a_consumer(group, kafka, [topic], work):
        await until(lambda: len(seen) >= count)
    return seen


async def by_the_log_reader(kafka: KafkaSettings, topic: str, _group: str, _count: int) -> Seen:
    async with LogReader(kafka, client_id="test") as reader:
        start, end = await reader.bounds(topic, 0)
        return [shape(r) async for batch in reader.read(topic, 0, start, end) for r in batch]


async def by_the_follower(kafka: KafkaSettings, topic: str, _group: str, count: int) -> Seen:
    seen: Seen = []
    async with Follower(kafka, client_id="test") as follower:
        handle = lambda batch: seen.extend(map(shape, batch))  # noqa: E731
        running = asyncio.create_task(follower.run({(topic, 0): 0}, handle))
        await until(lambda: len(seen) >= count)
        running.cancel()
    return seen


READERS: list[Read] = [by_the_application, by_the_log_reader, by_the_follower]


@pytest.mark.parametrize("read", READERS)
async def test_batches_of_all_codecs_are_read(
    read: Read, kafka: KafkaSettings, topics: list[str], group: str
) -> None:
    for codec in CODECS:
        async with AIOKafkaProducer(
            bootstrap_servers=kafka.servers, compression_type=codec
        ) as producer:
            await producer.send_and_wait(topics[0], codec.encode() * 1_000, partition=0)

    seen = await read(kafka, topics[0], group, len(CODECS))

    assert sorted(seen) == [(n, codec.encode() * 1_000) for n, codec in enumerate(CODECS)]


@pytest.mark.parametrize("read", READERS)
async def test_what_no_reader_can_take_apart_is_handed_over_and_the_rest_is_read(
    read: Read, kafka: KafkaSettings, topics: list[str], group: str
) -> None:
    bomb = a_batch([b"a" * 70_000_000], codec=CODECS["gzip"])
    named = a_batch([b"1", b"2"], headers=[("name", b"v")])
    no_utf8 = resealed(named.replace(b"name", b"\xff\xfe\xfd\xfc", 1))
    await send_raw(kafka, topics[0], a_batch([b"first"]), count=1)
    await send_raw(kafka, topics[0], bomb, count=1)
    await send_raw(kafka, topics[0], no_utf8, count=2)
    await send_raw(kafka, topics[0], a_batch([b"last"]), count=1)

    seen = await read(kafka, topics[0], group, 5)

    faults = [(1, "BATCH_TOO_LARGE"), (2, "RECORD_CORRUPT")]
    assert sorted(seen, key=lambda pair: pair[0]) == [
        (0, b"first"),
        *faults,
        (3, b"2"),
        (4, b"last"),
    ]


@pytest.mark.parametrize("read", READERS)
async def test_records_of_aborted_transactions_are_not_read(
    read: Read, kafka: KafkaSettings, topics: list[str], group: str
) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.servers, transactional_id=f"t-{os.urandom(8).hex()}"
    ) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topics[0], b"aborted", partition=0)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topics[0], b"committed", partition=0)
    async with AIOKafkaProducer(bootstrap_servers=kafka.servers) as producer:
        await producer.send_and_wait(topics[0], b"plain", partition=0)

    seen = await read(kafka, topics[0], group, 2)

    assert [value for _, value in seen] == [b"committed", b"plain"]


async def test_records_of_an_open_transaction_are_read_when_it_commits(
    kafka: KafkaSettings, topics: list[str], group: str
) -> None:
    seen: Seen = []

    async def work(delivery: Delivery) -> None:
        seen.append(shape(delivery.origin))

    async with (
        a_consumer(group, kafka, topics, work),
        AIOKafkaProducer(
            bootstrap_servers=kafka.servers, transactional_id=f"t-{os.urandom(8).hex()}"
        ) as producer,
        AIOKafkaProducer(bootstrap_servers=kafka.servers) as plain,
    ):
        await producer.begin_transaction()
        await producer.send_and_wait(topics[0], b"open", partition=0)
        await plain.send_and_wait(topics[0], b"behind it", partition=0)
        await plain.send_and_wait(topics[1], b"elsewhere", partition=0)
        # The other topic is read past it, so that nothing of this one was is no accident.
        await until(lambda: bool(seen))
        assert [value for _, value in seen] == [b"elsewhere"]

        await producer.commit_transaction()
        await until(lambda: len(seen) == 3)

    assert [value for _, value in seen][1:] == [b"open", b"behind it"]


async def test_an_end_is_the_last_stable_offset_for_who_reads_committed(
    kafka: KafkaSettings, topics: list[str]
) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.servers, transactional_id=f"t-{os.urandom(8).hex()}"
    ) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topics[0], b"open", partition=0)
        async with (
            LogReader(kafka, client_id="test") as committed,
            LogReader(kafka, client_id="test", committed=False) as uncommitted,
        ):
            assert await committed.bounds(topics[0], 0) == (0, 0)
            assert await uncommitted.bounds(topics[0], 0) == (0, 1)
        await producer.abort_transaction()
