"""Records and topics that are gone before a role reads them: counted and named, or no start."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from schemas.records import StepName
from schemas.topics import dlq
from sinks.schema.migrate import migrate_up
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Outgoing, Publisher
from tests.checker.reading import read_committed
from tests.e2e.driving import a_database
from tests.e2e.one_role import WAIT_S, OneRole

COUNT = 5


def a_role(name: str, bootstrap: str, folder: Path) -> OneRole:
    return OneRole(name, bootstrap, folder, ORCH_SERVICES_RETRIEVAL="grpc://127.0.0.1:1")


async def publish_garbage(role: OneRole, topic: str) -> None:
    publisher = Publisher(role.settings.kafka, client_id="test")
    await publisher.open()
    try:
        await publisher.publish(
            [Outgoing(topic=topic, partition=0, key=b"k", value=b"x") for _ in range(COUNT)]
        )
    finally:
        await publisher.close()


async def until_committed(role: OneRole, topic: str) -> None:
    """Wait until the role's group is done with all that a topic has."""
    prefix = role.settings.topics.prefix
    async with (
        asyncio.timeout(WAIT_S),
        LogReader(role.settings.kafka, client_id="test") as reader,
    ):
        _, end = await reader.bounds(topic, 0)
        while True:
            committed = await read_committed(role.settings.kafka.servers[0], prefix)
            if end in [o for (_, t, _), o in committed.items() if t == topic]:
                return
            await asyncio.sleep(0.2)


async def remove_all(role: OneRole, topic: str) -> None:
    """Remove every record of a topic's first partition, as its retention would."""
    client = AIOKafkaAdminClient(bootstrap_servers=role.settings.kafka.servers)
    await client.start()
    try:
        await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=-1)})
    finally:
        await client.close()


@pytest.mark.parametrize("topic", ["task_created", "task_commands", "step_results", "lane"])
async def test_records_that_left_an_input_unread_are_counted_and_named(
    kafka_bootstrap: str, tmp_path: Path, topic: str
) -> None:
    role = a_role("step.retrieve" if topic == "lane" else "router", kafka_bootstrap, tmp_path)
    lane = role.topics.lanes(StepName("retrieve"))[0]
    name = lane if topic == "lane" else getattr(role.topics, topic)
    await role.make_topics()
    await publish_garbage(role, name)
    async with role.running():
        await until_committed(role, name)
    await publish_garbage(role, name)
    await remove_all(role, name)
    await publish_garbage(role, name)

    async with role.running():
        await until_committed(role, name)

    [line] = role.lines("records_missing")
    assert (line["topic"], line["partition"], line["missing"]) == (name, 0, COUNT)


async def test_letters_that_left_their_topic_before_the_index_are_counted_and_named(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path
) -> None:
    dsn = await a_database(postgres_dsn)
    await migrate_up(dsn)
    role = OneRole("dlq-index", kafka_bootstrap, tmp_path, ORCH_POSTGRES_DSN=dsn)
    topic = dlq(role.topics.task_events)
    await role.make_topics()
    await publish_garbage(role, topic)
    async with role.running():
        await until_committed(role, topic)
    assert role.lines("index_holds_other_topics") == []
    await publish_garbage(role, topic)
    await remove_all(role, topic)
    await publish_garbage(role, topic)
    await index_for_another_system(dsn)

    async with role.running():
        await until_committed(role, topic)

    [line] = role.lines("records_missing")
    assert (line["topic"], line["partition"], line["missing"]) == (topic, 0, COUNT)
    [line] = role.lines("index_holds_other_topics")
    assert line["topics"] == ["dlq.another.task-created.v1"]
    assert role.lines("positions_unknown") == []


async def index_for_another_system(dsn: str) -> None:
    """What its index leaves in a database that was meant for it."""
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(
            "INSERT INTO ai_orchestrator.dlq_index_offsets"
            " VALUES ('dlq.another.task-created.v1', 0, 5)"
        )
    finally:
        await conn.close()


async def test_a_role_whose_topic_is_missing_does_not_start(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    role = a_role("router", kafka_bootstrap, tmp_path)
    await role.make_topics()
    client = AIOKafkaAdminClient(bootstrap_servers=role.settings.kafka.servers)
    await client.start()
    try:
        await client.delete_topics([role.topics.task_commands])
    finally:
        await client.close()

    async with role.running():
        await role.until(lambda: role.process.returncode is not None)

    assert role.process.returncode == 1
    assert "TOPICS_DIFFER" in role.log_path.read_text("utf-8")
