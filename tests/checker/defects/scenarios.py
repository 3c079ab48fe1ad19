"""Small loads with one fault each, which the product survives and a defect does not.

Run by ``run.py``, in a tree of its own. A fault waits for the moment in which its defect has
an effect, and comes anyway when there is no such moment: there is none without the defect.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from orchestrator.layout import topic_table
from orchestrator.pipelines import installed_pipelines
from streams.kafka.admin import Admin
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Publisher
from streams.ownership.adoption import AdoptedAs, adopt, candidate
from streams.settings import KafkaSettings
from tests.chaos.chaos import Chaos
from tests.chaos.conftest import chaos, form  # noqa: F401  # fixtures
from tests.chaos.load import a_command, a_task
from tests.checker.check import check
from tests.checker.reading import read_committed, read_evidence, read_positions
from tests.checker.snapshots import checkpoints
from tests.checker.wire import Value, decode, encode, home_of
from tests.streams.kafka.batches import CODECS, a_batch, send_raw

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

MOMENT_S = 15.0
END_S = 90.0
"""Beyond a timer's time and the grace that the checker gives it."""

Look = Callable[[], Awaitable[bool]]


async def test_ordinary_work(chaos: Chaos, tmp_path: Path) -> None:  # noqa: F811
    tasks = [a_task(tenant) for tenant in ["acme"] * 6 + ["refused"] * 2]
    await chaos.running.publish(f"{chaos.prefix}task-created.v1", [(b"bad", b"\x00bad")])
    await create(chaos, tasks)
    await look(lambda: has_ended(chaos, tasks), END_S)
    orders = [a_command(task, "cancel") for task in tasks[:2]]
    await send(chaos, "task-commands", "TaskCommand", orders)
    await look(lambda: has_checkpoints(chaos), END_S)
    await judge(chaos, tasks)


async def test_router_killed_with_acknowledged_work(chaos: Chaos) -> None:  # noqa: F811
    await warm(chaos)
    tasks = [a_task("acme") for _ in range(16)]
    await create(chaos, tasks)
    await look(lambda: has_committed_undecided(chaos), MOMENT_S)
    await kill(chaos, "router")
    await judge(chaos, tasks)


async def test_router_killed_with_undone_effects(chaos: Chaos) -> None:  # noqa: F811
    await warm(chaos)
    tasks = [a_task("acme") for _ in range(16)]
    await create(chaos, tasks)
    await look(lambda: is_created(chaos, tasks), MOMENT_S)
    await kill(chaos, "router")
    await judge(chaos, tasks)


async def test_router_killed_while_retries_wait(chaos: Chaos) -> None:  # noqa: F811
    await warm(chaos)
    tasks = [a_task("failing") for _ in range(16)]
    await create(chaos, tasks)
    await look(lambda: waits_for_a_retry(chaos, tasks), END_S)
    await kill(chaos, "router")
    await judge(chaos, tasks)


async def test_former_owner_writes_late(chaos: Chaos) -> None:  # noqa: F811
    tasks = [a_task("acme") for _ in range(8)]
    await create(chaos, tasks)
    await look(lambda: has_ended(chaos, tasks), END_S)
    events = {event["task_id"]: event for event in await chaos.running.events()}
    before = dict(chaos.watch.epochs)
    await kill(chaos, "router")
    await look(lambda: is_taken_over(chaos, before), END_S)
    for task in tasks:
        await write_late(chaos, events[task["task_id"]])
    more = [a_task("acme") for _ in range(8)]
    await create(chaos, more)
    await judge(chaos, tasks + more)


async def test_worker_killed_with_an_unfinished_head(chaos: Chaos) -> None:  # noqa: F811
    await warm(chaos)
    heads = [a_task("hanging", timeout_ms=20_000) for _ in range(8)]
    await create(chaos, heads)
    await look(lambda: is_called(chaos, heads), END_S)
    others = [a_task("acme") for _ in range(16)]
    await create(chaos, others)
    await look(lambda: has_committed_called(chaos, heads), MOMENT_S)
    await kill(chaos, "step.retrieve")
    await judge(chaos, heads + others)


async def test_sink_killed_while_it_writes(chaos: Chaos) -> None:  # noqa: F811
    await warm(chaos)
    # Else the moment may be one of the warm-up, whose last rows say all that earlier ones did.
    await chaos.settle()
    before = await positions(chaos)
    tasks = [a_task("acme") for _ in range(16)]
    await create(chaos, tasks)
    await look(lambda: has_moved(chaos, before), MOMENT_S)
    await kill(chaos, "sink")
    await judge(chaos, tasks)


async def test_service_that_answers_twice(chaos: Chaos) -> None:  # noqa: F811
    await warm(chaos)
    server = await asyncio.start_server(answer_twice, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    system = chaos.running.system
    environment = {**system.environment, "ORCH_SERVICES_RETRIEVAL": url}
    other = replace(system, environment=environment).add_replica("step.retrieve")
    await system.supervisor.stop("step.retrieve")
    tasks: list[Value] = []
    for _ in range(4):  # the later ones find the connections of the first
        tasks += [a_task("acme") for _ in range(4)]
        await create(chaos, tasks[-4:])
        await look(partial(has_ended, chaos, list(tasks)), END_S)
    await system.supervisor.start("step.retrieve")
    await system.supervisor.stop(other)
    server.close()
    await judge(chaos, tasks)


async def test_record_that_no_letter_can_hold(chaos: Chaos) -> None:  # noqa: F811
    # Of some KB on its way, and of more than a dead-letter topic takes when it is read.
    bomb = a_batch([b"a" * 6_000_000], codec=CODECS["gzip"])
    await send_raw(kafka_of(chaos), f"{chaos.prefix}task-created.v1", bomb, count=1)
    tasks = [a_task("acme") for _ in range(8)]
    await create(chaos, tasks)
    await judge(chaos, tasks)


async def test_transaction_that_is_aborted(chaos: Chaos) -> None:  # noqa: F811
    await warm(chaos)
    topic = f"{chaos.prefix}task-created.v1"
    async with AIOKafkaProducer(
        bootstrap_servers=chaos.running.bootstrap, transactional_id=f"{chaos.prefix}aborts"
    ) as producer:
        await producer.begin_transaction()
        for aborted in (a_task("acme") for _ in range(8)):
            value = encode(aborted, "TaskCreated")
            await producer.send_and_wait(topic, value, key=aborted["task_id"].encode())
        await producer.abort_transaction()
    # The coordinator answers before it has written its markers.
    await look(lambda: is_stable(chaos, topic), END_S)
    # Behind it in every partition, so that no marker is a partition's last word.
    tasks = [a_task("acme") for _ in range(8)]
    while {home_of(task_id.encode(), 4) for task_id in ids(tasks)} != set(range(4)):
        tasks.append(a_task("acme"))
    await create(chaos, tasks)
    await judge(chaos, tasks)


async def test_snapshot_that_cannot_be_read(chaos: Chaos) -> None:  # noqa: F811
    await warm(chaos)
    held = [a_task("acme", hold=True, timeout_ms=20_000) for _ in range(4)]
    await create(chaos, held)
    await look(lambda: is_created(chaos, held), END_S)
    for task in held:
        await chaos.running.until_state_holds(task["task_id"])
    supervisor = chaos.running.system.supervisor
    await supervisor.stop("router")
    await spoil_snapshots(chaos, ids(held))
    await supervisor.start("router")
    # They end by their deadline, if somebody knows them.
    await judge(chaos, held, end_s=40.0)


async def test_input_made_again(chaos: Chaos) -> None:  # noqa: F811
    """The last one: what this system did before has its causes in a topic that is gone."""
    before = [a_task("acme") for _ in range(16)]
    await create(chaos, before)
    await look(lambda: has_ended(chaos, before), END_S)
    for task in before:
        await chaos.running.until_state_holds(task["task_id"])
    supervisor = chaos.running.system.supervisor
    await supervisor.stop("router")
    await make_input_again(chaos)
    tasks = [a_task("acme") for _ in range(8)]
    await create(chaos, tasks)
    await supervisor.start("router")
    await judge(chaos, tasks, end_s=40.0)


async def make_input_again(chaos: Chaos) -> None:  # noqa: F811
    """Delete ``task-created``, make it again, and adopt it as an operator does."""
    settings, topics = chaos.running.system.settings, chaos.running.topics
    client = AIOKafkaAdminClient(bootstrap_servers=chaos.running.bootstrap)
    await client.start()
    try:
        await client.delete_topics([topics.task_created])
    finally:
        await client.close()
    async with Admin(settings.kafka) as admin:
        await admin.apply(topic_table(settings, installed_pipelines(settings.pipelines)))
    publisher = Publisher(settings.kafka, client_id="defects")
    await publisher.open()
    try:
        found = await candidate(settings.kafka, topics, topics.task_created)
        await adopt(publisher, topics, found, AdoptedAs.AGAIN, actor="ada", reason="a defect")
    finally:
        await publisher.close()


async def spoil_snapshots(chaos: Chaos, wanted: set[str]) -> None:  # noqa: F811
    """Write the newest snapshot of these tasks again, as no version of ours could."""
    evidence = await read_evidence(chaos.running.bootstrap, None, prefix=chaos.prefix)
    newest = {
        record.key.decode(): record
        for record in evidence.all_of("task-state")
        if record.key is not None and record.key.decode() in wanted
    }
    async with AIOKafkaProducer(bootstrap_servers=chaos.running.bootstrap) as producer:
        for record in newest.values():
            value = decode(record.value, "TaskState")
            assert value is not None
            state = json.loads(value["state"])
            del state["deadline_at"]
            value["state"] = json.dumps(state)
            await producer.send_and_wait(
                record.topic,
                encode(value, "TaskState"),
                key=record.key,
                partition=record.partition,
                headers=list(record.headers),
            )


def kafka_of(chaos: Chaos) -> KafkaSettings:  # noqa: F811
    return chaos.running.system.settings.kafka


async def answer_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Name the command that is answered, in each of two copies of the answer."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").lower()
            fields = dict(line.split(": ", 1) for line in head.split("\r\n") if ": " in line)
            await reader.readexactly(int(fields["content-length"]))
            output = {"documents": [], "answers": fields["idempotency-key"]}
            body = json.dumps({"output": output}).encode()
            writer.write(2 * (b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def judge(
    chaos: Chaos,  # noqa: F811
    tasks: list[Value],
    *,
    end_s: float = END_S,
) -> None:
    """Wait, with a bound, until all is done; then the checker's word counts."""
    ended = await look(lambda: has_ended(chaos, tasks), end_s)
    try:
        await chaos.settle()
    except AssertionError as error:
        print(f"DEFECT_UNSETTLED {error}")
    dsn = chaos.running.system.settings.postgres.dsn
    evidence = await read_evidence(chaos.running.bootstrap, dsn, prefix=chaos.prefix)
    verdict = check(evidence, quiet=True)
    print("DEFECT_CODES", json.dumps(sorted(verdict.codes)))

    assert not verdict.violations, str(verdict)
    assert ended, "tasks did not end"


async def look(condition: Look, timeout_s: float) -> bool:
    """Wait for a moment; False if it did not come."""
    until = asyncio.get_running_loop().time() + timeout_s
    while not await condition():
        if asyncio.get_running_loop().time() > until:
            return False
        await asyncio.sleep(0.1)
    return True


async def kill(chaos: Chaos, name: str) -> None:  # noqa: F811
    """SIGKILL a role, and start it again."""
    supervisor = chaos.running.system.supervisor
    supervisor.hold(name)
    chaos.running.system.child(name).kill()
    await chaos.running.system.child(name).wait(10.0)
    await supervisor.start(name)


async def warm(chaos: Chaos) -> None:  # noqa: F811
    """Wait until all roles are at work: a kill of a process that only starts shows nothing."""
    tasks = [a_task("acme") for _ in range(4)]
    await create(chaos, tasks)
    await look(lambda: has_ended(chaos, tasks), END_S)


async def create(chaos: Chaos, tasks: list[Value]) -> None:  # noqa: F811
    await send(chaos, "task-created", "TaskCreated", tasks)


async def send(chaos: Chaos, topic: str, name: str, values: list[Value]) -> None:  # noqa: F811
    records = [(value["task_id"].encode(), encode(value, name)) for value in values]
    await chaos.running.publish(f"{chaos.prefix}{topic}.v1", records)


async def write_late(chaos: Chaos, last: Value) -> None:  # noqa: F811
    """Write what a former owner would: the next event of a task, under its own epoch."""
    late = {
        **last,
        "event_id": f"{last['task_id']}/{last['sequence'] + 1}",
        "sequence": last["sequence"] + 1,
        "kind": "failed",
        "status": "failed",
        "phase": "failed",
        "output": None,
        "cause_offset": -1,
    }
    await chaos.running.publish(
        f"{chaos.prefix}task-events.v1", [(late["task_id"].encode(), encode(late, "TaskEvent"))]
    )


async def has_ended(chaos: Chaos, tasks: list[Value]) -> bool:  # noqa: F811
    return chaos.watch.ended >= ids(tasks)


async def is_created(chaos: Chaos, tasks: list[Value]) -> bool:  # noqa: F811
    return bool(chaos.watch.created & ids(tasks))


async def is_called(chaos: Chaos, tasks: list[Value]) -> bool:  # noqa: F811
    return {call["task_id"] for call in chaos.running.calls()} >= ids(tasks)


async def is_taken_over(chaos: Chaos, before: dict[int, int]) -> bool:  # noqa: F811
    return all(chaos.watch.epochs[p] > epoch for p, epoch in before.items())


async def waits_for_a_retry(chaos: Chaos, tasks: list[Value]) -> bool:  # noqa: F811
    last = {event["task_id"]: event["kind"] for event in await chaos.running.events()}
    return "step_retry_scheduled" in {last.get(task["task_id"]) for task in tasks}


async def is_stable(chaos: Chaos, topic: str) -> bool:  # noqa: F811
    """Whether all transactions in a topic have ended."""
    async with (
        LogReader(kafka_of(chaos), client_id="defects") as committed,
        LogReader(kafka_of(chaos), client_id="defects", committed=False) as uncommitted,
    ):
        stable = [await committed.bounds(topic, p) for p in range(4)]
        return stable == [await uncommitted.bounds(topic, p) for p in range(4)]


async def has_checkpoints(chaos: Chaos) -> bool:  # noqa: F811
    evidence = await read_evidence(chaos.running.bootstrap, None, prefix=chaos.prefix)
    return any(True for _ in checkpoints(evidence))


async def has_committed_undecided(chaos: Chaos) -> bool:  # noqa: F811
    """Whether the router has committed inputs that have no event."""
    topic = f"{chaos.prefix}task-created.v1"
    committed = await read_committed(chaos.running.bootstrap, chaos.prefix)
    decided = {(place, offset) for name, place, offset in chaos.watch.causes if name == topic}
    return any(
        (place, offset - 1) not in decided
        for (group, name, place), offset in committed.items()
        if group == "router" and name == topic and offset > 0
    )


async def has_committed_called(chaos: Chaos, tasks: list[Value]) -> bool:  # noqa: F811
    """Whether the worker has committed commands of these tasks, which hang."""
    wanted = {f"{task_id}/1/retrieve/1" for task_id in ids(tasks)}
    committed = await read_committed(chaos.running.bootstrap, chaos.prefix)
    return any(
        command_id in wanted and offset < committed.get(("step.retrieve", topic, partition), 0)
        for (topic, partition, offset), command_id in chaos.watch.commands.items()
    )


async def positions(chaos: Chaos) -> dict[int, int]:  # noqa: F811
    return await read_positions(chaos.running.system.settings.postgres.dsn)


async def has_moved(chaos: Chaos, before: dict[int, int]) -> bool:  # noqa: F811
    return await positions(chaos) != before


def ids(tasks: list[Value]) -> set[str]:
    return {task["task_id"] for task in tasks}
