"""The embedded Kafka, for real: seconds for each start."""

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from orchestrator.local.embedded.errors import KafkaNotStartedError, PortTakenError
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.ports import choose_ports

TIMEOUT_S = 30.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(server_dir: Path) -> AsyncIterator[EmbeddedKafka]:
    """A node of our own: that of the session restarts with the partitions of all tests.

    Ask for its address in each test: one of them moves it.
    """
    kafka = EmbeddedKafka(server_dir / "restarted")
    await kafka.start()
    yield kafka
    await kafka.kill()


async def test_a_record_of_four_mebibytes_is_produced_and_consumed(kafka_bootstrap: str) -> None:
    topic = await a_topic(kafka_bootstrap)
    value = bytes(4 * 1024 * 1024)

    await produce(kafka_bootstrap, topic, value)

    assert await values_of(kafka_bootstrap, topic, 1) == [value]


async def test_a_topic_that_was_not_created_does_not_come_into_being(kafka_bootstrap: str) -> None:
    name = f"unknown-{uuid.uuid4().hex}"

    async with AIOKafkaProducer(
        bootstrap_servers=kafka_bootstrap, request_timeout_ms=1_000
    ) as producer:
        with pytest.raises(UnknownTopicOrPartitionError):
            await producer.partitions_for(name)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_acknowledged_records_survive(node: EmbeddedKafka, how: str) -> None:
    bootstrap = node.bootstrap
    topic = await a_topic(bootstrap)
    await produce(bootstrap, topic, b"kept")

    await (node.stop() if how == "stop" else node.kill())
    stopped_pid = node.pid
    started = time.monotonic()
    assert await node.start() == bootstrap
    print(f"start after {how}: {time.monotonic() - started:.1f} s")

    assert stopped_pid is None
    assert await values_of(bootstrap, topic, 1) == [b"kept"]


async def test_a_restart_on_other_ports_keeps_the_records(node: EmbeddedKafka) -> None:
    before = node.bootstrap
    topic = await a_topic(before)
    await produce(before, topic, b"kept")

    await node.stop()
    (node.data_dir / "ports.json").unlink()
    after = await node.start()

    assert after != before
    assert await values_of(after, topic, 1) == [b"kept"]


async def test_a_server_that_ends_while_it_starts_is_reported_with_its_log(tmp_path: Path) -> None:
    kafka = EmbeddedKafka(tmp_path)
    # A directory that counts as formatted, and is that of another node.
    (tmp_path / "formatted.json").write_text('{"cluster_id": "other"}\n')
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\ncluster.id=other\nnode.id=7\n")

    with pytest.raises(KafkaNotStartedError, match=r"ended with status(.|\n)*node id") as caught:
        await kafka.start()

    assert caught.value.code == "KAFKA_NOT_STARTED"
    assert kafka.pid is None


async def test_a_start_that_is_cancelled_leaves_nothing_running(tmp_path: Path) -> None:
    kafka = EmbeddedKafka(tmp_path)
    starting = asyncio.create_task(kafka.start())
    async with asyncio.timeout(TIMEOUT_S):
        while kafka.pid is None:  # noqa: ASYNC110  # a process, not an event
            await asyncio.sleep(0.01)

    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    async with asyncio.timeout(TIMEOUT_S):
        await kafka.wait()

    assert kafka.pid is None


async def test_a_port_that_is_taken_is_refused_by_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(PortTakenError, match=f"port {port} .* kafka, is taken") as caught:
            await EmbeddedKafka(tmp_path, port=port).start()

    assert caught.value.code == "PORT_TAKEN"


def test_a_remembered_port_is_kept_until_somebody_else_listens_on_it(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    first = choose_ports(path, {"kafka": 0, "controller": 0})
    again = choose_ports(path, {"kafka": 0, "controller": 0})
    with socket.create_server(("127.0.0.1", first["kafka"])):
        moved = choose_ports(path, {"kafka": 0, "controller": 0})

    assert again == first
    assert moved["kafka"] != first["kafka"]
    assert moved["controller"] == first["controller"]
    assert choose_ports(path, {"kafka": 0, "controller": 0}) == moved


def test_the_usual_port_comes_first_and_gives_way_to_whoever_listens_on_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ports.json"
    remembered = choose_ports(path, {"kafka": 0})
    with socket.create_server(("127.0.0.1", 0)) as other:
        usual = {"kafka": other.getsockname()[1]}
        taken = choose_ports(path, {"kafka": 0}, usual)
    free = choose_ports(path, {"kafka": 0}, usual)

    assert taken == remembered
    assert free == usual


async def a_topic(bootstrap: str) -> str:
    """A new topic with one partition that takes records of 4 MiB."""
    name = f"embedded-{uuid.uuid4().hex}"
    async with an_admin(bootstrap) as admin:
        response = await admin.create_topics([NewTopic(name, 1, 1)])
    assert [error[1] for error in response.topic_errors] == [0]
    return name


@asynccontextmanager
async def an_admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", max_request_size=5 * 1024 * 1024
    ) as producer:
        await producer.send_and_wait(topic, value, partition=0)


async def values_of(bootstrap: str, topic: str, count: int) -> list[bytes]:
    """The first ``count`` values of the topic's partition 0."""
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        max_partition_fetch_bytes=5 * 1024 * 1024,
        enable_auto_commit=False,
    ) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        async with asyncio.timeout(TIMEOUT_S):
            return [(await consumer.getone()).value for _ in range(count)]
