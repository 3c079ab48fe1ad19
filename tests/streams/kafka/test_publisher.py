"""The publisher, against a real broker."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from schemas.dead_letter import Origin
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings


async def all_records(kafka: KafkaSettings, topic: str, partition: int) -> list[Origin]:
    async with LogReader(kafka, client_id="test") as reader:
        start, end = await reader.bounds(topic, partition)
        batches = [batch async for batch in reader.read(topic, partition, start, end)]
    return [record for batch in batches for record in batch]


def a_record(topic: str, value: bytes | None, partition: int = 0) -> Outgoing:
    return Outgoing(topic=topic, partition=partition, key=b"k", value=value)


def batches_of(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The partitions of the batches that are made from now on."""
    send, made = publisher._producer.send_batch, list[int]()

    async def noted(builder: object, topic: str, *, partition: int) -> Any:
        made.append(partition)
        return await send(builder, topic, partition=partition)

    monkeypatch.setattr(publisher._producer, "send_batch", noted)
    return made


@dataclass
class Answers:
    """Of a broker that does not answer until it may."""

    may_come: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0


def requests_wait(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Hold each request back, after the numbers of its batches were given out."""
    sender, answers = publisher._producer._sender, Answers()
    send = sender._send_produce_req

    async def held(node: int, batches: object) -> None:
        answers.waiting += 1
        await answers.may_come.wait()
        await send(node, batches)

    monkeypatch.setattr(sender, "_send_produce_req", held)
    return answers


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def published_by_now(publisher: Publisher, record: Outgoing) -> asyncio.Task[list[int]]:
    """A call that has had enough turns of the event loop to give its record to aiokafka."""
    call = asyncio.create_task(publisher.publish([record]))
    for _ in range(10):
        await asyncio.sleep(0)
    return call


async def test_each_record_gets_its_offset_in_the_order_given(
    publisher: Publisher, topics: list[str]
) -> None:
    records = [a_record(topics[0], b"%d" % n, partition=n % 2) for n in range(100)]

    assert await publisher.publish(records) == [n // 2 for n in range(100)]


async def test_records_of_many_callers_are_written_in_the_order_of_the_calls(
    publisher: Publisher, topics: list[str], kafka: KafkaSettings
) -> None:
    calls = [publisher.publish([a_record(topics[0], b"%d" % n)]) for n in range(300)]
    offsets = await asyncio.gather(*calls)

    written = await all_records(kafka, topics[0], 0)
    assert offsets == [[n] for n in range(300)]
    assert [record.value for record in written] == [b"%d" % n for n in range(300)]


async def test_a_record_joins_the_batch_that_waits_until_the_broker_has_answered(
    publisher: Publisher, topics: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, answers = batches_of(publisher, monkeypatch), requests_wait(publisher, monkeypatch)
    first = asyncio.create_task(publisher.publish([a_record(topics[0], b"first")]))
    await until(lambda: answers.waiting == 1)
    joining = [
        await published_by_now(publisher, a_record(topics[0], b"%d" % n, partition=1))
        for n in range(20)
    ]
    answers.may_come.set()

    assert await first == [0]
    assert [await call for call in joining] == [[n] for n in range(20)]
    assert batches == [0, 1]


async def test_no_record_joins_a_batch_whose_numbers_were_given_out(
    publisher: Publisher, topics: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, answers = batches_of(publisher, monkeypatch), requests_wait(publisher, monkeypatch)
    first = asyncio.create_task(publisher.publish([a_record(topics[0], b"first")]))
    await until(lambda: answers.waiting == 1)
    second = await published_by_now(publisher, a_record(topics[0], b"second"))
    answers.may_come.set()

    assert (await first, await second) == ([0], [1])
    assert batches == [0, 0]


async def test_a_publisher_that_gathers_sends_the_calls_of_some_turns_as_one_batch(
    kafka: KafkaSettings, topics: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(kafka, client_id="test", gather_turns=4)
    await publisher.open()
    batches, calls = batches_of(publisher, monkeypatch), []
    for n in range(20):
        calls.append(asyncio.create_task(publisher.publish([a_record(topics[0], b"%d" % n)])))
        await asyncio.sleep(0)

    assert [await call for call in calls] == [[n] for n in range(20)]
    assert batches == [0]
    await publisher.close()


async def test_keys_values_and_headers_arrive_byte_for_byte(
    publisher: Publisher, topics: list[str], kafka: KafkaSettings
) -> None:
    headers: list[tuple[str, bytes | None]] = [("a", b"1"), ("a", None), ("b", b"\xff"), ("", b"")]
    record = Outgoing(
        topic=topics[0],
        partition=1,
        key=b"\x00\xff",
        value=None,
        headers=headers,
        timestamp_ms=1_700_000_000_123,
    )
    await publisher.publish([record])

    [found] = await all_records(kafka, topics[0], 1)
    assert (found.key, found.value) == (b"\x00\xff", None)
    assert list(found.headers) == headers
    assert found.timestamp_ms == 1_700_000_000_123


async def test_an_event_of_four_mebibytes_is_published(
    publisher: Publisher, topics: list[str]
) -> None:
    large = a_record(topics[0], b"x" * (4 * 1024 * 1024))

    assert await publisher.publish([a_record(topics[0], b"1"), large]) == [0, 1]


async def test_a_caller_that_is_cancelled_does_not_take_its_record_back(
    publisher: Publisher, topics: list[str], kafka: KafkaSettings
) -> None:
    call = asyncio.create_task(publisher.publish([a_record(topics[0], b"1")]))
    await asyncio.sleep(0)
    call.cancel()
    await publisher.publish([a_record(topics[0], b"2")])

    written = await all_records(kafka, topics[0], 0)
    assert [record.value for record in written] == [b"1", b"2"]


async def test_a_publisher_that_is_cancelled_while_it_connects_is_closed() -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        publisher = Publisher(KafkaSettings(bootstrap=f"127.0.0.1:{port}"), client_id="test")
        opening = asyncio.ensure_future(publisher.open())
        await asyncio.wait_for(asked.wait(), 10)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    # aiokafka warns about a producer that is dropped and was not closed.
    assert publisher._producer._closed
