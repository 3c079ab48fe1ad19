"""What a broker refuses was certainly not written; everything else goes on."""

import asyncio
import os
import uuid
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.dead_letter import FailureClass, Origin, Stage
from schemas.dead_letter_record import read_dead_letter
from schemas.errors import RecordTooLargeError
from schemas.topics import Topics, dlq
from streams import metrics
from streams.errors import PublishRefusedError
from streams.kafka.admin import Admin
from streams.kafka.cut_letter import HEADERS_KEPT_BYTES, VALUE_KEPT_BYTES
from streams.kafka.dead_letters import DeadLetters, failure_of
from streams.kafka.patience import publish_patiently
from streams.kafka.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings
from tests.logged import logged
from tests.streams.building import a_record, a_topic
from tests.streams.kafka.test_publisher import all_records

FAILURE = failure_of(
    RecordTooLargeError("too large"), stage=Stage.DECODE, failure_class=FailureClass.POISON
)


async def a_topic_with(kafka: KafkaSettings, **changes: int | None) -> str:
    """A new topic that has its configuration from its first moment."""
    name = f"test-{uuid.uuid4()}"
    async with Admin(kafka) as admin:
        await admin.apply([replace(a_topic(name), **changes)])  # type: ignore[arg-type]
    # Its leader answers: a batch that a broker sent back once is of unknown outcome when refused.
    assert await all_records(kafka, name, 0) == []
    return name


async def set_config(kafka: KafkaSettings, topic: str, **config: str) -> None:
    """Replace the configuration of a topic, as an operator would.

    The broker obeys it a moment later: only for a test that waits for what changes.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.servers)
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
    finally:
        await admin.close()


@pytest.fixture
async def small(kafka: KafkaSettings) -> str:
    """A topic whose batches have 10,000 bytes at most."""
    return await a_topic_with(kafka, max_bytes=10_000)


async def test_a_record_that_is_too_large_is_refused_and_the_next_one_is_written(
    publisher: Publisher, small: str, kafka: KafkaSettings
) -> None:
    for _ in range(3):
        with pytest.raises(PublishRefusedError) as refused:
            await publisher.publish([a_record(small, value=b"a" * 20_000)])
        assert refused.value.too_large

    assert await publisher.publish([a_record(small, value=b"next")]) == [0]
    assert [r.value for r in await all_records(kafka, small, 0)] == [b"next"]


async def test_a_record_larger_than_a_request_may_be_is_refused(
    publisher: Publisher, topics: list[str]
) -> None:
    with pytest.raises(PublishRefusedError) as refused:
        await publisher.publish([a_record(topics[0], value=b"a" * 8_000_000)])

    assert refused.value.too_large
    assert await publisher.publish([a_record(topics[0])]) == [0]


async def test_only_the_refused_one_of_many_callers_is_refused(
    publisher: Publisher, small: str, kafka: KafkaSettings
) -> None:
    sizes = [10, 20_000, 3_000, 3_000, 3_000, 3_000, 30_000, 10]

    outcomes = await asyncio.gather(
        *(publisher.publish([a_record(small, value=b"a" * size)]) for size in sizes),
        return_exceptions=True,
    )

    assert [isinstance(o, PublishRefusedError) for o in outcomes] == [s > 10_000 for s in sizes]
    written = [len(r.value or b"") for r in await all_records(kafka, small, 0)]
    assert written == [size for size in sizes if size < 10_000]


async def test_nothing_of_a_call_is_written_behind_its_refused_record(
    publisher: Publisher, small: str, kafka: KafkaSettings
) -> None:
    values = [b"first", b"a" * 20_000, b"behind"]

    with pytest.raises(PublishRefusedError):
        await publisher.publish([a_record(small, value=value) for value in values])

    assert [r.value for r in await all_records(kafka, small, 0)] == [b"first"]


async def test_a_time_that_the_broker_refuses_is_no_unknown_outcome(
    publisher: Publisher, topics: list[str]
) -> None:
    # A refusal of a batch that was sent before, such as to a leader of a moment ago, is not sure.
    await publisher.publish([a_record(topics[0])])
    in_a_year = 32_000_000_000_000
    record = Outgoing(topic=topics[0], partition=0, key=None, value=b"v", timestamp_ms=in_a_year)
    with pytest.raises(PublishRefusedError, match="InvalidTimestamp"):
        await publisher.publish([record])

    assert await publisher.publish([a_record(topics[0])]) == [1]


async def test_what_is_refused_waits_for_the_operator_and_says_so_once(
    publisher: Publisher, small: str, kafka: KafkaSettings
) -> None:
    record = a_record(small, value=b"a" * 20_000)
    with logged("streams.kafka.patience.log") as logs:
        waiting = asyncio.create_task(publish_patiently(publisher, [record]))
        async with asyncio.timeout(20):
            while not logs:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await set_config(kafka, small, **{"max.message.bytes": "50000"})
        async with asyncio.timeout(20):
            assert await waiting == [0]

    assert [entry["event"] for entry in logs] == ["waiting", "waiting_over"]


async def test_a_record_without_a_key_is_refused_by_a_compacted_topic(
    publisher: Publisher, kafka: KafkaSettings
) -> None:
    compacted = await a_topic_with(kafka, retention_ms=None)
    await publisher.publish([a_record(compacted)])

    with pytest.raises(PublishRefusedError, match="InvalidRecord"):
        await publisher.publish([Outgoing(topic=compacted, partition=0, key=None, value=b"v")])

    assert await publisher.publish([a_record(compacted)]) == [1]


@pytest.fixture
async def letters_of(kafka: KafkaSettings) -> str:
    """A topic that has a dead-letter topic, which takes 5 MB."""
    return await a_topic_of_letters(kafka, a_topic("").max_bytes)


async def a_topic_of_letters(kafka: KafkaSettings, max_bytes: int) -> str:
    name = f"orchestrator.task-created.v1-{os.urandom(4).hex()}"
    async with Admin(kafka) as admin:
        await admin.apply([a_topic(name), replace(a_topic(dlq(name)), max_bytes=max_bytes)])
    assert await all_records(kafka, dlq(name), 0) == []
    return name


def an_origin(topic: str, **changes: object) -> Origin:
    facts: dict[str, object] = {
        "topic": topic,
        "partition": 0,
        "offset": 7,
        "timestamp_ms": 1,
        "key": b"k",
        "value": b"v",
        "headers": (),
    }
    return Origin(**(facts | changes))  # type: ignore[arg-type]


TOO_LARGE: dict[str, dict[str, object]] = {
    "value": {"value": b"a" * 6_000_000},
    "headers": {"headers": tuple((f"h{n}", b"b" * 100_000) for n in range(60))},
    "key": {"key": b"c" * 6_000_000},
}


@pytest.mark.parametrize("what", TOO_LARGE)
async def test_a_letter_that_no_topic_takes_is_cut_to_its_position_size_and_hash(
    what: str, publisher: Publisher, letters_of: str, kafka: KafkaSettings
) -> None:
    origin = an_origin(letters_of, **TOO_LARGE[what])

    await DeadLetters(publisher, group="g").publish([(origin, FAILURE)])

    [found] = await all_records(kafka, dlq(letters_of), 0)
    letter = read_dead_letter(found, Topics())
    assert (letter.topic, letter.offset, letter.code) == (letters_of, 7, "RECORD_TOO_LARGE")
    assert not letter.whole
    assert len(found.value or b"") <= VALUE_KEPT_BYTES
    assert sum(len(n) + len(v or b"") for n, v in letter.headers) <= HEADERS_KEPT_BYTES
    said = dict(found.headers)
    assert said["__dlq.cut.value.bytes"] == str(len(origin.value or b"")).encode()
    assert said["__dlq.cut.key.bytes"] == str(len(origin.key or b"")).encode()


async def test_a_letter_that_the_broker_finds_too_large_is_cut_and_its_neighbours_are_whole(
    publisher: Publisher, kafka: KafkaSettings
) -> None:
    letters_of = await a_topic_of_letters(kafka, 100_000)
    origins = [
        an_origin(letters_of, offset=1),
        an_origin(letters_of, offset=2, value=b"a" * 200_000),
        an_origin(letters_of, offset=3),
    ]
    counted = metrics.DEAD_LETTERS.labels(letters_of, "RECORD_TOO_LARGE")
    before = counted._value.get()

    await DeadLetters(publisher, group="g").publish([(origin, FAILURE) for origin in origins])

    letters = [read_dead_letter(r, Topics()) for r in await all_records(kafka, dlq(letters_of), 0)]
    assert {(letter.offset, letter.whole) for letter in letters} == {
        (1, True),
        (2, False),
        (3, True),
    }
    assert counted._value.get() == before + 3
