"""What `orchestrator doctor` says of logs and rows: positions, identities, transactions, clocks."""

import asyncio
import json
import os

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from orchestrator.log_checks import probe
from schemas.topics import dlq
from streams.errors import KafkaUnavailableError
from streams.history.acceptance import Ownership
from streams.kafka.broker_clock import BrokerClock
from streams.kafka.publisher import Outgoing, Publisher
from streams.ownership.ports import Checkpoint, StateRecord
from streams.ownership.state_record import write_state
from tests.orchestrator.test_doctor import System, system

__all__ = ["system"]

ADOPT = "orchestrator topics adopt"
NEW_LOG = "restore it, or begin with new topics (ORCH_TOPICS_PREFIX)"


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


async def commit(system: System, group: str, topic: str, offset: int) -> None:
    place = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=system.settings.kafka.servers, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    consumer.assign([place])
    await consumer.commit({place: offset})
    await consumer.stop()


async def remove(system: System, topic: str) -> None:
    """Remove all records that a topic has."""
    admin = AIOKafkaAdminClient(bootstrap_servers=system.settings.kafka.servers)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=-1)})
    await admin.close()


async def test_a_topic_that_routers_do_not_know_any_more_is_named_with_the_way_on(
    system: System,
) -> None:
    topic = system.topics.task_created
    await remember(system, topics={topic: "00000000-0000-0000-0000-000000000001"})

    status, found = await system.doctor()

    [finding] = found["fatal"]
    assert (status, finding["about"]) == (1, topic)
    assert finding["fix"] == f"{ADOPT} task-created --as again --execute --reason TEXT"


async def test_a_topic_shorter_than_what_was_read_of_it_is_named(system: System) -> None:
    await remember(system, decided_created=70, offset=9)

    status, found = await system.doctor()

    fixes = {f["about"]: f["fix"] for f in found["fatal"]}
    assert status == 1
    assert fixes == {
        system.topics.task_created: f"{ADOPT} task-created --as again --execute --reason TEXT",
        system.topics.task_events: NEW_LOG,
    }
    assert all("shorter" in f["what"] for f in found["fatal"])


async def test_a_topic_with_another_id_is_not_also_said_to_be_shorter(system: System) -> None:
    other = "00000000-0000-0000-0000-000000000001"
    names = [*system.topics.router_inputs, system.topics.task_events]
    await remember(system, decided_created=70, offset=9, topics=dict.fromkeys(names, other))

    _, found = await system.doctor()

    assert [f["about"] for f in found["fatal"]] == names
    assert all("another id" in f["what"] for f in found["fatal"])
    assert [f["fix"] for f in found["fatal"]] == [
        *(
            f"{ADOPT} {name} --as again --execute --reason TEXT"
            for name in ("task-created", "task-commands", "step-results")
        ),
        NEW_LOG,
    ]


async def test_a_log_that_was_trimmed_behind_its_checkpoint_can_be_adopted(
    system: System,
) -> None:
    topic = system.topics.task_events
    await publish(system, *(a_record(topic) for _ in range(3)))
    await remember(system, offset=1)
    await remove(system, topic)

    status, found = await system.doctor()

    [finding] = found["fatal"]
    assert (status, finding["about"]) == (1, topic)
    assert finding["fix"] == f"{ADOPT} task-events --as trimmed --execute --reason TEXT"


@pytest.mark.parametrize("of", ["task_commands", "dlq_actions", "control"])
async def test_an_open_transaction_is_named_with_what_it_holds_up(system: System, of: str) -> None:
    topic = getattr(system.topics, of)
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
    assert f"describe-producers --topic {topic} --partition 0, then its abort" in finding["fix"]
    assert "warning" not in after[1]


async def test_records_that_were_removed_before_they_were_read_are_counted(system: System) -> None:
    topic, group = system.topics.task_created, f"{system.variables['ORCH_TOPICS_PREFIX']}router"
    await publish(system, *(a_record(topic) for _ in range(5)))
    await commit(system, group, topic, 2)
    await remove(system, topic)

    _, found = await system.doctor()

    [finding] = found["warning"]
    assert finding["about"] == f"{topic}[0]"
    assert finding["breaks"] == "3 records were removed before they were read"


@pytest.mark.parametrize(
    ("group", "of"), [("sink", "task_events"), ("dlq-index", "dlq_actions"), ("dlq-index", "")]
)
async def test_of_what_goes_into_postgres_only_a_position_beyond_the_end_is_named(
    system: System, group: str, of: str
) -> None:
    topic = getattr(system.topics, of) if of else dlq(system.topics.step_results)
    group = f"{system.variables['ORCH_TOPICS_PREFIX']}{group}"
    await publish(system, *(a_record(topic) for _ in range(5)))
    await commit(system, group, topic, 2)
    await remove(system, topic)
    _, behind = await system.doctor()
    await commit(system, group, topic, 6)

    _, beyond = await system.doctor()

    [finding] = beyond["warning"]
    assert "warning" not in behind
    assert finding["about"] == f"{topic}[0]"
    assert finding["what"].startswith(f"{group} stands at 6")


class SilentClock(BrokerClock):
    """Its broker never acknowledges a record."""

    async def difference_ms(self, partition: int, *, at_most_ms: int) -> int | None:
        await asyncio.Event().wait()
        return None


async def test_a_clock_that_is_not_answered_is_waited_for_no_longer_than_its_bound(
    system: System,
) -> None:
    clock = SilentClock(Publisher(system.settings.kafka, client_id="test"), "a topic")
    with pytest.raises(KafkaUnavailableError, match=r"in 0\.05 s"):
        async with asyncio.timeout(10):
            await probe(clock, at_most_ms=5, timeout_s=0.05)


async def test_a_topic_that_keeps_the_writers_times_leaves_the_clock_unknown(
    system: System,
) -> None:
    await system.set(system.topics.task_state, "message.timestamp.type", "CreateTime")

    _, found = await system.doctor()

    assert "clock" in {finding["about"] for finding in found["warning"]}


async def test_rows_that_are_not_of_this_log_are_named_before_the_sink_finds_them(
    system: System,
) -> None:
    await system.execute(
        "INSERT INTO ai_orchestrator.sink_offsets VALUES (0, 1000, 1, 'another', now())"
    )
    await system.execute(
        "INSERT INTO ai_orchestrator.dlq_index_offsets VALUES ('dlq.another.task-created.v1', 0, 5)"
    )

    status, found = await system.doctor()

    [moved], [foreign] = found["fatal"], found["warning"]
    assert status == 1
    assert moved["what"].startswith("SINK_POSITION_MOVED: the sink stands at offset 1000 of ")
    assert foreign["what"].endswith("other topics: dlq.another.task-created.v1 (1)")


async def test_migrations_that_do_not_fit_this_program_are_shown_wherever_one_looks(
    system: System,
) -> None:
    table = "ai_orchestrator.schema_migrations"
    await system.execute(f"INSERT INTO {table} (name, checksum) VALUES ('0099_post_drop.sql', 'x')")

    applied = await system.run("migrate", "up")
    assert "newer than this program: 0099_post_drop.sql" in applied.stdout.splitlines()
    [newer] = (await system.doctor())[1]["warning"]
    assert "1 migrations of a newer program are applied" in newer["what"]

    await system.execute(f"UPDATE {table} SET checksum = 'x' WHERE name LIKE '0002%'")
    ended = await system.run("migrate", "status", "-o", "json")
    states = {one["name"]: one["state"] for one in map(json.loads, ended.stdout.splitlines())}
    assert states.pop("0099_post_drop.sql") == "newer"
    assert states.pop("0002_pre_create_task_steps.sql") == "changed"
    assert set(states.values()) == {"applied"}
    assert (await system.run("migrate", "up")).exit_code == 1
