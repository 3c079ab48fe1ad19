"""The faults that are made on purpose, and by which figure each shows."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from schemas.codec import decode, encode
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.records import (
    CommandKind,
    Error,
    ErrorCategory,
    ResultKind,
    StepCommand,
    StepName,
    StepResult,
    TaskCreated,
    Usage,
)
from streams.clock import now_ms
from streams.kafka.log_reader import LogReader
from streams.kafka.partitioner import partition_of
from tests.e2e.driving import a_rag_task
from tests.e2e.ordering import an_order, order
from tests.monitoring.observe.site import Site
from tests.streams.kafka.batches import a_batch, resealed, send_raw

_GARBAGE = 30


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    name: str
    made: Callable[[Site], AbstractAsyncContextManager[None]]
    """Holds inside of its block; what is left behind ends by itself."""
    shows: str
    """Returns values other than 0 once the fault has its effect."""
    times: int = 1
    """How often it is made: a rate does not see the first event of a series."""


@asynccontextmanager
async def failing_services(site: Site) -> AsyncIterator[None]:
    for tenant in ("failing", "refused", "garbled", "recovering"):
        await site.over_kafka("rag", tenant, 3)
    yield


@asynccontextmanager
async def costly_failure(site: Site) -> AsyncIterator[None]:
    """A worker of another kind reports what a failed call consumed."""
    # One partition, as each has a series of its own.
    task = _a_task_of_partition_0(site, "hanging")
    await site.running.create([task])
    await site.running.row_until(task.task_id, lambda row: row["phase"] == "step_running")
    [command] = [
        command
        for lane in site.running.topics.lanes(StepName("retrieve"))
        for partition in range(site.running.system.settings.topics.partitions)
        for record in await _records(site, lane, partition)
        if (command := decode(record.value, StepCommand)).task_id == task.task_id
    ]
    result = StepResult(
        command_id=command.command_id,
        task_id=task.task_id,
        tenant_id=task.tenant_id,
        step=command.step,
        kind=ResultKind.FAILED,
        error=Error(code="ANSWER_TOO_LONG", message="of a test", category=ErrorCategory.DOWNSTREAM),
        usage=Usage(model="observed-1", input_tokens=1_000, cost_micros=2_000_000),
        started_at=now_ms(),
        completed_at=now_ms(),
    )
    results = site.running.topics.step_results
    await site.running.publish(results, [(task.task_id.encode(), encode(result))])
    yield


@asynccontextmanager
async def flood(site: Site) -> AsyncIterator[None]:
    await site.over_kafka("agent", "flooding", 12)
    yield


@asynccontextmanager
async def cancel(site: Site) -> AsyncIterator[None]:
    tasks = [a_rag_task("hanging") for _ in range(2)]
    await site.running.create(tasks)
    for task in tasks:
        await site.running.row_until(task.task_id, lambda row: row["phase"] == "step_running")
        await order(site.running, an_order(task, CommandKind.CANCEL))
    yield


@asynccontextmanager
async def malformed_records(site: Site) -> AsyncIterator[None]:
    topics = site.running.topics
    await site.running.publish(topics.task_created, [(b"k", b"no record")] * _GARBAGE)
    named = a_batch([b"x"], headers=[("name", b"v")])
    no_utf8 = resealed(named.replace(b"name", b"\xff\xfe\xfd\xfc", 1))
    await send_raw(site.running.system.settings.kafka, topics.task_commands, no_utf8, count=1)
    yield


@asynccontextmanager
async def commands_before_their_task(site: Site) -> AsyncIterator[None]:
    await order(site.running, *(an_order(a_rag_task(), CommandKind.CANCEL) for _ in range(5)))
    yield


@asynccontextmanager
async def second_copies(site: Site) -> AsyncIterator[None]:
    topic = site.running.topics.lanes(StepName("retrieve"))[1]
    for partition in range(site.running.system.settings.topics.partitions):
        for record in (await _records(site, topic, partition))[-20:]:
            headers = [(name, value or b"") for name, value in record.headers]
            await site.running.publish(
                topic, [(record.key, record.value)], partition=partition, headers=headers
            )
    yield


@asynccontextmanager
async def open_transaction(site: Site) -> AsyncIterator[None]:
    producer = AIOKafkaProducer(
        bootstrap_servers=site.running.bootstrap, transactional_id=f"observe-{uuid.uuid4()}"
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        task = a_rag_task()
        topic = site.running.topics.task_created
        await producer.send_and_wait(topic, encode(task), key=task.task_id.encode())
        yield
        await producer.commit_transaction()
    finally:
        await producer.stop()


@asynccontextmanager
async def streams_and_limits(site: Site) -> AsyncIterator[None]:
    held = await site.over_grpc("rag", hold=True)
    stream = site.stub.WatchTask(pb.WatchTaskRequest(task_id=held))
    await stream.read()
    assert (await site.over_http("rag", priority=10)).status_code == 403
    try:
        yield
    finally:
        stream.cancel()


@asynccontextmanager
async def former_owner(site: Site) -> AsyncIterator[None]:
    """Events of the first owner of each partition again, after all the later ones."""
    topic = site.running.topics.task_events
    await site.running.system.supervisor.restart("router")
    for partition in range(site.running.system.settings.topics.partitions):
        for record in (await _records(site, topic, partition))[:5]:
            headers = [(name, value or b"") for name, value in record.headers]
            await site.running.publish(
                topic, [(record.key, record.value)], partition=partition, headers=headers
            )
    yield


@asynccontextmanager
async def silent_service(site: Site) -> AsyncIterator[None]:
    """A service answers nobody of a tenant: its breaker opens."""
    await site.over_kafka("voice", "silent", 8)
    yield


@asynccontextmanager
async def many_retries(site: Site) -> AsyncIterator[None]:
    """More retries than their budget."""
    await site.over_kafka("multimodal", "retrying", 4)
    yield


@asynccontextmanager
async def limited_service(site: Site) -> AsyncIterator[None]:
    """A service refuses calls as too many."""
    await site.over_kafka("rag", "limited", 3)
    yield


@asynccontextmanager
async def second_router(site: Site) -> AsyncIterator[None]:
    """A second router comes and goes: the first one, which was scraped before, takes over."""
    system = site.running.system
    second = system.add_replica("router")
    try:
        yield
    finally:
        await system.supervisor.stop(second)


@asynccontextmanager
async def no_router(site: Site) -> AsyncIterator[None]:
    await site.running.system.supervisor.stop("router")
    try:
        yield
    finally:
        await site.running.system.supervisor.start("router")


@asynccontextmanager
async def deleted_records(site: Site) -> AsyncIterator[None]:
    """Commands are deleted while no router runs: the next one finds the gap when it starts."""
    topic = site.running.topics.task_commands
    async with no_router(site):
        placed = await site.running.publish(topic, [(b"k", b"gone")] * 5, partition=0)
        admin = AIOKafkaAdminClient(bootstrap_servers=site.running.bootstrap)
        await admin.start()
        try:
            deleted = RecordsToDelete(before_offset=placed[-1][1] + 1)
            await admin.delete_records({TopicPartition(topic, 0): deleted})
        finally:
            await admin.close()
    yield


@asynccontextmanager
async def no_index(site: Site) -> AsyncIterator[None]:
    supervisor = site.running.system.supervisor
    await supervisor.stop("dlq-index")
    try:
        await site.running.publish(site.running.topics.task_created, [(b"k", b"no record")])
        yield
    finally:
        await supervisor.start("dlq-index")


@asynccontextmanager
async def full_lane(site: Site) -> AsyncIterator[None]:
    await site.over_kafka("rag", "slow", 30)
    yield


@asynccontextmanager
async def late_tasks(site: Site) -> AsyncIterator[None]:
    """Tasks that were held since the beginning may run."""
    await order(site.running, *(an_order(task, CommandKind.EXECUTE) for task in site.held))
    yield


@asynccontextmanager
async def paused_worker(site: Site) -> AsyncIterator[None]:
    supervisor = site.running.system.supervisor
    supervisor.pause("step.retrieve")
    try:
        yield
    finally:
        supervisor.resume("step.retrieve")


@asynccontextmanager
async def postgres_away(site: Site) -> AsyncIterator[None]:
    await site.postgres.stop()
    asking = asyncio.create_task(_lists(site))
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await site.postgres.start()


async def _lists(site: Site) -> None:
    """Ask for what only Postgres has."""
    while True:
        await site.http.get("/tasks")
        try:
            await site.stub.ListTasks(pb.ListTasksRequest(), timeout=10)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.3)


@asynccontextmanager
async def kills(site: Site) -> AsyncIterator[None]:
    system = site.running.system
    for name in list(system.supervisor.children):
        if not name.startswith("demo"):
            system.child(name).kill()
    yield


def _a_task_of_partition_0(site: Site, tenant: str) -> TaskCreated:
    partitions = site.running.system.settings.topics.partitions
    tasks = (a_rag_task(tenant) for _ in itertools.count())
    return next(task for task in tasks if partition_of(task.task_id.encode(), partitions) == 0)


async def _records(site: Site, topic: str, partition: int) -> list[Any]:
    async with LogReader(site.running.system.settings.kafka, client_id="observe") as reader:
        first, end = await reader.bounds(topic, partition)
        return [r async for batch in reader.read(topic, partition, first, end) for r in batch]


FAULTS = (
    Fault(
        "a service fails",
        failing_services,
        "sum(orchestrator_dead_letters_total) and sum(orchestrator_open_letters) > 0",
    ),
    Fault(
        "a failed call that cost money",
        costly_failure,
        "sum(orchestrator_wasted_cost_usd_total)",
        times=2,
    ),
    Fault("a flood of failures", flood, "max(orchestrator_flood_guard_paused)"),
    Fault("cancels", cancel, "sum(orchestrator_steps_stopped_total)", times=2),
    Fault(
        "malformed records",
        malformed_records,
        "sum(orchestrator_unreadable_records_total)"
        " and sum(orchestrator_dead_letters_total{topic=~'.*task-created.*'}) >= 20",
        times=2,
    ),
    Fault("a service that answers nobody", silent_service, "max(orchestrator_breaker_open)"),
    Fault(
        "retries that wait",
        many_retries,
        "sum(orchestrator_retries_held_total) > 3",
    ),
    Fault(
        "a service that refuses calls",
        limited_service,
        "sum(orchestrator_throttled_calls_total) >= 8",
    ),
    Fault("a full lane", full_lane, 'max(orchestrator_buffered{role="step.retrieve"})'),
    Fault("commands before their task", commands_before_their_task, "orchestrator_held_commands"),
    Fault(
        "second copies of commands",
        second_copies,
        "sum(orchestrator_step_copies_total)",
        times=2,
    ),
    Fault("an open transaction", open_transaction, "sum(orchestrator_uncommitted_records)"),
    Fault(
        "an open stream, a refused call",
        streams_and_limits,
        "sum(orchestrator_api_streams_open) and sum(orchestrator_api_limited_total)",
        times=2,
    ),
    Fault(
        "no index of letters",
        no_index,
        'max(orchestrator_group_oldest_unread_age_seconds{group=~".*dlq-index"})',
    ),
    Fault(
        "deleted records",
        deleted_records,
        "sum(orchestrator_records_missing_total)",
    ),
    # They were created more than a minute ago by now, whatever the machine.
    Fault(
        "late tasks",
        late_tasks,
        "sum(orchestrator_task_turnaround_seconds_count)"
        ' - sum(orchestrator_task_turnaround_seconds_bucket{le="60.0"})',
    ),
    Fault(
        "a second router",
        second_router,
        'max(orchestrator_group_members{group=~".*router"}) == 2',
    ),
    Fault(
        "no router",
        no_router,
        'max(orchestrator_group_oldest_unread_age_seconds{group=~".*router"}) > 8',
    ),
    Fault("events of a former owner", former_owner, "sum(orchestrator_events_ignored_total)"),
    Fault(
        "a worker stands still",
        paused_worker,
        'count(up{role="step.retrieve"} == 0)'
        ' and max(orchestrator_group_members{group=~".*step.retrieve"}) == 0',
    ),
    Fault(
        "Postgres is away",
        postgres_away,
        'max(orchestrator_group_oldest_unread_age_seconds{group=~".*sink"}) > 8',
    ),
    Fault("every role is killed", kills, "sum(orchestrator_takeovers_total)"),
)
"""In this order; each ends before the next."""
