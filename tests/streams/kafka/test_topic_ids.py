"""A topic is known by its id, not by its name."""

import os

from aiokafka.admin import AIOKafkaAdminClient

from streams.kafka.admin import Admin
from streams.kafka.topic_ids import Identity
from streams.settings import KafkaSettings
from tests.streams.building import a_topic


async def make_again(kafka: KafkaSettings, topic: str, partitions: int = 2) -> None:
    """Delete a topic and create it, as an operator would; return when both are done."""
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.servers)
    await client.start()
    try:
        await client.delete_topics([topic])
    finally:
        await client.close()
    async with Admin(kafka) as admin:
        while await admin.partition_counts([topic]):
            pass
        await admin.apply([a_topic(topic, partitions)])


async def test_a_topic_that_is_made_again_has_another_id(
    kafka: KafkaSettings, topics: list[str]
) -> None:
    async with Admin(kafka) as admin:
        before = await admin.topic_ids(topics)
        await make_again(kafka, topics[0])
        after = await admin.topic_ids(topics)

    assert before is not None
    assert after is not None
    assert set(before) == set(after) == set(topics)
    assert before[topics[0]] != after[topics[0]]
    assert before[topics[1]] == after[topics[1]]


async def test_a_topic_that_does_not_exist_has_no_id_and_is_not_made(kafka: KafkaSettings) -> None:
    missing = f"missing-{os.urandom(8).hex()}"

    async with Admin(kafka) as admin:
        assert await admin.topic_ids([missing]) == {}
        assert await admin.partition_counts([missing]) == {}


def test_a_topic_is_taken_for_deleted_when_it_is_missing_twice() -> None:
    seen = Identity()

    assert seen.look({"t": "1"}) is None
    assert seen.look({"t": None}) is None
    assert seen.look({"t": "1"}) is None
    assert seen.look({}) is None
    assert seen.look({"t": None}) is None
    assert seen.look({"t": None}) == "t does not exist any more, its id was 1"


def test_a_topic_with_another_id_is_noticed_at_once() -> None:
    seen = Identity()
    seen.look({"t": "1", "u": "2"})

    assert seen.look({"t": "1", "u": "3"}) == "u was made again: its id was 2, now it is 3"
