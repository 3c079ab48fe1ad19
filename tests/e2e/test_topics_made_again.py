"""A topic is known by its id: one that was made again stops a router, with a way on."""

import asyncio
import time
import uuid
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from schemas.records import Json, Millis, TaskCreated, TaskId
from streams.errors import AdoptionRefusedError
from streams.kafka.publisher import Publisher
from streams.ownership.adoption import AdoptedAs, adopt, candidate
from tests.e2e.one_role import OneRole


@pytest.fixture
async def router(kafka_bootstrap: str, tmp_path: Path) -> OneRole:
    role = OneRole("router", kafka_bootstrap, tmp_path, ORCH_KAFKA_STALL_TIMEOUT_S="2")
    await role.make_topics()
    return role


def some_tasks(count: int = 3) -> list[TaskCreated]:
    return [
        TaskCreated(
            task_id=TaskId(f"task_{uuid.uuid4()}"),
            tenant_id="acme",
            type="chat",
            input=Json('{"query":"why?"}'),
            hold=True,
            created_at=Millis(time.time_ns() // 1_000_000),
        )
        for _ in range(count)
    ]


def ids(tasks: list[TaskCreated]) -> list[str]:
    return [str(task.task_id) for task in tasks]


async def delete(router: OneRole, topic: str) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=router.settings.kafka.servers)
    await client.start()
    try:
        await client.delete_topics([topic])
    finally:
        await client.close()


async def adopt_as(router: OneRole, topic: str, how: AdoptedAs) -> None:
    kafka, topics = router.settings.kafka, router.topics
    publisher = Publisher(kafka, client_id="test")
    await publisher.open()
    try:
        found = await candidate(kafka, topics, topic)
        await adopt(publisher, topics, found, how, actor="ada", reason="a test")
    finally:
        await publisher.close()


def waits_for(router: OneRole, code: str) -> bool:
    return any(line.get("code") == code for line in router.lines("waiting"))


async def test_tasks_of_a_topic_that_was_made_again_run_when_it_is_adopted(router: OneRole) -> None:
    first, second = some_tasks(), some_tasks(2)
    async with router.running():
        await router.create(first)
        await router.until_created(ids(first))
    await delete(router, router.topics.task_created)
    await router.make_topics()
    await router.create(second)

    async with router.running():
        await router.until(lambda: waits_for(router, "TOPIC_REPLACED"))
        assert set(await router.created()) == set(ids(first))
        await adopt_as(router, router.topics.task_created, AdoptedAs.AGAIN)
        await router.until_created(ids(second))
    # And it stays adopted.
    third = some_tasks()
    await router.create(third)
    async with router.running():
        await router.until_created(ids(third))

    assert sorted(await router.created()) == sorted(ids(first + second + third))


async def test_a_running_router_ends_when_a_topic_is_deleted_or_made_again(
    router: OneRole,
) -> None:
    async with router.running():
        await router.create(first := some_tasks())
        await router.until_created(ids(first))
        await delete(router, router.topics.task_commands)
        began = asyncio.get_running_loop().time()
        await router.until(lambda: router.process.returncode is not None)
        ended_after_s = asyncio.get_running_loop().time() - began

    [line] = router.lines("process_fails")
    assert line["reason"] in ("topic_changed", "not_copartitioned")
    assert router.process.returncode == 1
    assert ended_after_s < 30


async def test_events_that_left_the_log_behind_the_checkpoint_stop_the_router_until_given_up(
    router: OneRole,
) -> None:
    async with router.running():
        await router.create(first := some_tasks())
        await router.until_created(ids(first))
        # The checkpoint of the takeover is written; the next one is due in 10 s.
        await router.create(more := some_tasks())
        await router.until_created(ids(more))
    client = AIOKafkaAdminClient(bootstrap_servers=router.settings.kafka.servers)
    await client.start()
    try:
        log = TopicPartition(router.topics.task_events, 0)
        await client.delete_records({log: RecordsToDelete(before_offset=-1)})
    finally:
        await client.close()

    second = some_tasks()
    await router.create(second)
    async with router.running():
        await router.until(lambda: waits_for(router, "LOG_TRIMMED"))
        [line, *_] = router.lines("waiting")
        assert "events are missing" in line["reason"]
        await adopt_as(router, router.topics.task_events, AdoptedAs.TRIMMED)
        await router.until_created(ids(second))


async def test_records_that_left_task_created_unread_are_counted_and_named(router: OneRole) -> None:
    async with router.running():
        await router.create(first := some_tasks())
        await router.until_created(ids(first))
    await router.create(some_tasks(5))
    client = AIOKafkaAdminClient(bootstrap_servers=router.settings.kafka.servers)
    await client.start()
    try:
        created = TopicPartition(router.topics.task_created, 0)
        await client.delete_records({created: RecordsToDelete(before_offset=-1)})
    finally:
        await client.close()
    await router.create(last := some_tasks())

    async with router.running():
        await router.until_created(ids(last))

    [line] = router.lines("records_missing")
    assert (line["topic"], line["missing"]) == (router.topics.task_created, 5)


async def test_a_log_is_no_candidate_to_be_made_again_and_a_stranger_no_mirror(
    router: OneRole,
) -> None:
    async with router.running():
        await router.create(first := some_tasks())
        await router.until_created(ids(first))
    with pytest.raises(AdoptionRefusedError, match="the log is the truth"):
        await adopt_as(router, router.topics.task_events, AdoptedAs.AGAIN)
    await delete(router, router.topics.task_created)
    await router.make_topics()

    with pytest.raises(AdoptionRefusedError, match="is not a mirror"):
        await adopt_as(router, router.topics.task_created, AdoptedAs.MIRROR)
    with pytest.raises(AdoptionRefusedError, match="no router remembers"):
        await adopt_as(router, router.topics.stream, AdoptedAs.AGAIN)
