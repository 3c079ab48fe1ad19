"""The service and the command line write the same envelopes: they have one maker of them."""

import uuid

from orchestrator.api.replica.producer import SOURCE, TaskProducer
from orchestrator.cli.task.producer import SOURCE as CLI_SOURCE
from orchestrator.cli.task.producer import DirectProducer
from schemas.dead_letter import Origin
from schemas.records import CommandId, CommandKind, Json, Millis, TaskCommand, TaskCreated, TaskId
from schemas.topics import Topics, TopicsSettings
from streams.kafka.admin import Admin
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Publisher
from streams.settings import KafkaSettings

TASK = TaskCreated(
    task_id=TaskId("task_1"), tenant_id="acme", type="rag", input=Json("{}"), created_at=Millis(5)
)
ORDERS = [
    TaskCommand(
        command_id=CommandId(f"c{number}"),
        kind=kind,
        task_id=TaskId("task_1"),
        tenant_id="acme",
        issued_at=Millis(5),
    )
    for number, kind in enumerate(CommandKind)
]


async def test_both_roads_write_the_same_key_value_and_headers(kafka_bootstrap: str) -> None:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    settings = TopicsSettings(
        prefix=f"e{uuid.uuid4().hex[:8]}.", partitions=1, replication_factor=1
    )
    topics = Topics(settings)
    async with Admin(kafka) as admin:
        await admin.apply(topics.table([]))
    service = TaskProducer(kafka, topics, timeout_s=10.0)
    await service.open()
    publisher = Publisher(kafka, client_id="test")
    await publisher.open()
    async with LogReader(kafka, client_id="t1") as events, LogReader(kafka, client_id="t2") as dlq:
        command_line = DirectProducer(topics, publisher, events, dlq)
        await service.create([TASK])
        await command_line.create(TASK)
        for order in ORDERS:
            await service.command([order])
            await command_line.command(order)
        tasks = [r async for batch in events.read(topics.task_created, 0, 0, 2) for r in batch]
        end = 2 * len(ORDERS)
        orders = [r async for batch in events.read(topics.task_commands, 0, 0, end) for r in batch]
    await service.close()
    await publisher.close()

    for ours, theirs in [*pairs(tasks), *pairs(orders)]:
        assert (ours.key, ours.value) == (theirs.key, theirs.value)
        ours_named, theirs_named = dict(ours.headers), dict(theirs.headers)
        assert ours_named.pop("ce_source") == SOURCE.encode()
        assert theirs_named.pop("ce_source") == CLI_SOURCE.encode()
        assert ours_named == theirs_named
    types = {dict(record.headers)["ce_type"] for record in orders}
    assert types == {f"orchestrator.v1.TaskCommand.{kind}".encode() for kind in CommandKind}


def pairs(records: list[Origin]) -> list[tuple[Origin, Origin]]:
    return list(zip(records[::2], records[1::2], strict=True))
