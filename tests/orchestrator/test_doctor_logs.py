"""What `orchestrator doctor` says of positions, identities, transactions and clocks."""

import os

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from streams.ownership.acceptance import Ownership
from streams.ownership.ports import Checkpoint, StateRecord
from streams.ownership.state_record import write_state
from streams.publisher import Outgoing, Publisher
from tests.orchestrator.test_doctor import System, system

__all__ = ["system"]


async def publish(system: System, *records: Outgoing) -> None:
    publisher = Publisher(system.settings.kafka, client_id="test")
    await publisher.open()
    try:
        await publisher.publish(list(records))
    finally:
        await publisher.close()


def a_record(topic: str) -> Outgoing:
    return Outgoing(topic=topic, partition=0, key=b"k", value=b"v")


async def remember(system: System, **changes: object) -> None:
    """A checkpoint, as an owner leaves it."""
    facts: dict[str, object] = {"offset": 0, "state_from": 0, "decided_created": -1}
    checkpoint = Checkpoint(**(facts | {"partitions": 1} | changes))  # type: ignore[arg-type]
    state = StateRecord(checkpoint, Ownership(1, "an-owner"))
    await publish(system, write_state(system.topics.task_state, 0, state))


async def test_a_topic_that_routers_do_not_know_any_more_is_named_with_the_way_on(
    system: System,
) -> None:
    topic = system.topics.task_created
    await remember(system, topics={topic: "00000000-0000-0000-0000-000000000001"})

    status, found = await system.doctor()

    [finding] = found["warning"]
    assert (status, finding["about"]) == (0, topic)
    assert finding["fix"] == "orchestrator topics adopt task-created --as again"


async def test_a_topic_shorter_than_what_was_read_of_it_is_named(system: System) -> None:
    await remember(system, decided_created=70, offset=9)

    _, found = await system.doctor()

    about = {f["about"] for f in found["warning"]}
    assert about == {system.topics.task_created, system.topics.task_events}
    assert all("shorter" in f["what"] for f in found["warning"])


async def test_an_open_transaction_is_named_with_what_it_holds_up(system: System) -> None:
    topic = system.topics.task_commands
    async with AIOKafkaProducer(
        bootstrap_servers=system.settings.kafka.servers,
        transactional_id=f"t-{os.urandom(8).hex()}",
    ) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"open", partition=0)
        await publish(system, a_record(topic), a_record(topic))

        status, found = await system.doctor()
        await producer.abort_transaction()
        after = await system.doctor()

    [finding] = found["warning"]
    assert (status, finding["about"]) == (0, f"{topic}[0]")
    assert finding["what"] == "a transaction is open since offset 0"
    assert finding["breaks"].startswith("3 offsets behind it")
    assert "warning" not in after[1]


async def test_records_that_were_removed_before_they_were_read_are_counted(system: System) -> None:
    topic, group = system.topics.task_created, f"{system.variables['ORCH_TOPICS_PREFIX']}router"
    await publish(system, *(a_record(topic) for _ in range(5)))
    place = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=system.settings.kafka.servers, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    consumer.assign([place])
    await consumer.commit({place: 2})
    await consumer.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=system.settings.kafka.servers)
    await admin.start()
    await admin.delete_records({place: RecordsToDelete(before_offset=-1)})
    await admin.close()

    _, found = await system.doctor()

    [finding] = found["warning"]
    assert finding["about"] == f"{topic}[0]"
    assert finding["breaks"] == "3 records were removed before they were read"


async def test_a_topic_that_keeps_the_writers_times_leaves_the_clock_unknown(
    system: System,
) -> None:
    await system.set(system.topics.task_state, "message.timestamp.type", "CreateTime")

    _, found = await system.doctor()

    assert "clock" in {finding["about"] for finding in found["warning"]}
