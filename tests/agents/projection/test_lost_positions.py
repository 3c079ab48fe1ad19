"""A group whose offsets are gone reads its commands again, and calls no service twice for one."""

import asyncio

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from schemas.records import Lane
from tests.agents.steps.test_step_worker import committed
from tests.agents.steps.working import STEP, Service, Site, a_command, a_worker


async def forget_positions(site: Site) -> None:
    """Delete the group, as an operator or its expiry does."""
    admin = AdminClient({"bootstrap.servers": site.kafka.bootstrap})
    for deleted in admin.delete_consumer_groups([site.group]).values():
        await asyncio.to_thread(deleted.result)


async def test_commands_that_have_a_result_are_not_called_again_when_offsets_are_deleted(
    site: Site, service: Service
) -> None:
    old = [a_command() for _ in range(30)]
    async with a_worker(site, service):
        await site.send(*old)
        await site.results_of(30)
        await committed(site, 30)
    await forget_positions(site)
    new = [a_command() for _ in range(5)]
    await site.send(*new)

    with capture_logs() as logs:
        async with a_worker(site, service):
            await committed(site, 35)

    assert len(service.calls) == 35
    [line] = [entry for entry in logs if entry["event"] == "positions_lost"]
    assert line["results_remembered"] == 30


async def test_commands_without_a_result_are_called_also_when_offsets_are_deleted(
    site: Site, service: Service
) -> None:
    service.answers.clear()
    waiting = a_command()
    async with a_worker(site, service):
        await site.send(waiting)
        done = a_command()
        service.answers.set()
        await site.send(done, lane=Lane.HIGH)
        await site.results_of(2)
        await committed(site, 1)
    await forget_positions(site)
    unseen = a_command()
    await site.send(unseen)

    async with a_worker(site, service):
        await committed(site, 2)

    assert service.called(unseen.task_id) == 1
    assert service.called(waiting.task_id) == service.called(done.task_id) == 1


async def test_offsets_that_the_topic_does_not_hold_any_more_are_as_lost_as_deleted_ones(
    site: Site, service: Service
) -> None:
    old = [a_command(partition=0) for _ in range(5)]
    async with a_worker(site, service):
        await site.send(*old)
        await site.results_of(5)
        await committed(site, 5)
    # Somebody resets the group beyond the end; the client goes back to the beginning by itself.
    await reset_beyond_the_end(site)

    with capture_logs() as logs:
        async with a_worker(site, service):
            await committed(site, 5)

    assert len(service.calls) == 5
    assert "committed_beyond_end" in {entry["event"] for entry in logs}
    # Committed back: what comes while the role is down is not skipped at its next start.
    missed = [a_command(partition=0) for _ in range(5)]
    await site.send(*missed)
    async with a_worker(site, service):
        await committed(site, 10)
    assert [service.called(command.task_id) for command in missed] == [1] * 5


async def reset_beyond_the_end(site: Site) -> None:
    topic = site.topics.step(STEP, Lane.NORMAL)
    consumer = AIOKafkaConsumer(bootstrap_servers=site.kafka.servers, group_id=site.group)
    await consumer.start()
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    await consumer.commit({place: 1_000_000})
    await consumer.stop()
