"""Every metric that is declared moves: in one run with failures caused on purpose, or elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.monitoring.page import rows
from schemas.codec import decode, encode
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1 import orchestrator_pb2_grpc as pb_grpc
from schemas.records import CommandKind, Lane, Millis, StepName, TaskCommand, TaskEvent, TaskId
from streams.clock import now_ms
from streams.kafka.admin import Admin
from streams.kafka.log_reader import LogReader
from tests.e2e.driving import Running
from tests.monitoring.conftest import CHAT, KEYS, api, cancelled, created, targets
from tests.names import defines

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

MOVED_ELSEWHERE = {
    "orchestrator_clock_difference_seconds": (
        "tests/e2e/test_wrong_clock.py",
        "test_a_router_with_a_wrong_clock_waits_until_it_is_set_right",
    ),
    "orchestrator_replica_lag_records": (
        "tests/streams/kafka/test_follower.py",
        "test_it_says_how_many_records_of_a_topic_it_has_not_handled",
    ),
    "orchestrator_breaker_open": (
        "tests/agents/steps/test_resilience.py",
        "test_while_a_service_is_away_only_probes_and_calls_in_flight_are_spent",
    ),
    "orchestrator_throttled_calls_total": (
        "tests/agents/steps/test_resilience.py",
        "test_a_throttled_call_is_made_again_and_costs_no_attempt",
    ),
    "orchestrator_retries_held_total": (
        "tests/agents/steps/test_resilience.py",
        "test_retries_above_the_budget_wait_and_first_attempts_go_on",
    ),
    "orchestrator_hedged_calls_total": (
        "tests/agents/steps/test_hedge.py",
        "test_a_slow_call_gets_a_second_one_and_the_first_answer_counts",
    ),
    "orchestrator_service_endpoints": (
        "tests/agents/services/balancing/test_balanced_client.py",
        "test_endpoints_appear_move_and_vanish_under_load_without_a_failed_call",
    ),
    "orchestrator_service_endpoints_left_out_total": (
        "tests/agents/services/balancing/test_balanced_client.py",
        "test_an_endpoint_whose_calls_fail_is_left_out",
    ),
    "orchestrator_discovery_failures_total": (
        "tests/agents/services/discovery/test_following.py",
        "test_the_last_good_list_is_kept_and_it_is_said_once",
    ),
    "orchestrator_model_fallbacks_total": (
        "tests/agents/services/models/test_model_client.py",
        "test_a_model_that_fails_is_followed_by_the_next_one",
    ),
    "orchestrator_model_calls_unpriced_total": (
        "tests/agents/services/models/test_model_client.py",
        "test_a_model_without_a_price_is_counted_and_costs_nothing",
    ),
    "orchestrator_unreadable_records_total": (
        "tests/streams/kafka/test_fetched_batches.py",
        "test_records_that_cannot_be_read_are_counted",
    ),
}
"""Metrics whose cause is made in another test; each with that test."""
_MOVES_S = 120.0
_SUFFIXES = ("_bucket", "_count", "_sum", "_created")


@asynccontextmanager
async def watched(running: Running) -> AsyncIterator[set[str]]:
    """The metrics that had a value other than 0 in any process since the beginning."""
    moved: set[str] = set()

    async def watch() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                for address in targets(running).values():
                    try:
                        answer = await client.get(f"http://{address}/metrics")
                    except httpx.HTTPError:
                        continue
                    moved.update(_moved(answer.text))
                await asyncio.sleep(0.2)

    watching = asyncio.create_task(watch())
    try:
        yield moved
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _moved(text: str) -> set[str]:
    return {
        next((name.removesuffix(end) for end in _SUFFIXES if name.endswith(end)), name)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        for name in [sample.name]
        if sample.value != 0 and not name.endswith("_created")
    }


async def test_every_metric_moves_when_its_cause_is_made(stuck: Running) -> None:
    declared = {name for name in rows() if name not in MOVED_ELSEWHERE}
    async with watched(stuck) as moved:
        await over_grpc(stuck)
        done = await created(stuck)
        await stuck.ended([done])
        # A call that was paid for, whose answer cannot be used.
        await created(stuck, "garbled", **CHAT)
        hanging = [await created(stuck, "hanging") for _ in range(6)]
        for _ in range(8):
            await created(stuck, "flooding", **CHAT)
        await stuck.publish(stuck.topics.task_created, [(b"broken", b"not a record")])
        await a_command_for_nobody(stuck)
        await a_refused_priority(stuck)
        await an_event_of_a_former_owner(stuck)
        await a_second_copy_of_a_command(stuck, done)
        async with an_open_stream(stuck, hanging[0]), an_open_transaction(stuck):
            await until(moved, {"orchestrator_uncommitted_records"})
        await cancelled(stuck, "hanging", *hanging)
        await records_that_nobody_read(stuck)
        await until(moved, declared)


async def until(moved: set[str], wanted: set[str]) -> None:
    try:
        async with asyncio.timeout(_MOVES_S):
            while not wanted <= moved:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"never moved: {sorted(wanted - moved)}") from None


async def over_grpc(running: Running) -> None:
    async with grpc.aio.insecure_channel(running.system.grpc_address) as channel:
        stub = pb_grpc.OrchestratorStub(channel)
        me = (("authorization", f"Bearer {KEYS['default']}"),)
        request = pb.CreateTaskRequest(type="chat", input='{"query": "What is a lane?"}')
        await stub.CreateAndExecuteTask(request, metadata=me)


async def a_command_for_nobody(running: Running) -> None:
    task_id = TaskId("task_of_nobody")
    command = TaskCommand(
        command_id="c-1",
        task_id=task_id,
        tenant_id="default",
        kind=CommandKind.CANCEL,
        actor="test",
        issued_at=Millis(now_ms()),
    )
    await running.publish(running.topics.task_commands, [(task_id.encode(), encode(command))])


async def a_refused_priority(running: Running) -> None:
    async with api(running) as client:
        task = {"type": "chat", "input": {"query": "?"}, "priority": 10}
        assert (await client.post("/tasks", json=task)).status_code == 403


async def an_event_of_a_former_owner(running: Running) -> None:
    _, value = await last_record(running, running.topics.task_events)
    event = decode(value, TaskEvent)
    zombie = msgspec.structs.replace(event, owner="a-zombie", owner_epoch=event.owner_epoch + 5)
    await running.publish(
        running.topics.task_events, [(zombie.task_id.encode(), encode(zombie))], partition=0
    )


async def a_second_copy_of_a_command(running: Running, task_id: str) -> None:
    topic = running.topics.step(StepName("retrieve"), Lane.NORMAL)
    key, value = await last_record(running, topic, of=task_id.encode())
    await running.publish(topic, [(key, value)], partition=0)


async def last_record(
    running: Running, topic: str, of: bytes | None = None
) -> tuple[bytes | None, bytes | None]:
    async with LogReader(running.system.settings.kafka, client_id="test") as reader:
        first, end = await reader.bounds(topic, 0)
        found = [
            record
            async for records in reader.read(topic, 0, first, end)
            for record in records
            if of in (None, record.key)
        ]
    return found[-1].key, found[-1].value


@asynccontextmanager
async def an_open_stream(running: Running, task_id: str) -> AsyncIterator[None]:
    async with (
        api(running, "hanging") as client,
        client.stream("GET", f"/tasks/{task_id}/events") as answer,
    ):
        assert answer.status_code == 200
        yield


@asynccontextmanager
async def an_open_transaction(running: Running) -> AsyncIterator[None]:
    async with AIOKafkaProducer(
        bootstrap_servers=running.bootstrap, transactional_id="a-stranger"
    ) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(running.topics.task_created, b"x", partition=0)
        yield
        await producer.abort_transaction()


async def records_that_nobody_read(running: Running) -> None:
    """Remove records of a lane while its worker is away, and bring the worker back."""
    topic = running.topics.step(StepName("extract"), Lane.LOW)
    # A group has a position where it once read.
    await running.publish(topic, [(b"k", b"not a record")], partition=0)
    async with asyncio.timeout(60):
        while not await committed(running, "step.extract", topic):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    await running.system.supervisor.stop("step.extract")
    await running.publish(topic, [(b"k", b"not a record")] * 3, partition=0)
    client = AIOKafkaAdminClient(bootstrap_servers=running.bootstrap)
    await client.start()
    try:
        await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=-1)})
    finally:
        await client.close()
    await running.system.supervisor.start("step.extract")


async def committed(running: Running, role: str, topic: str) -> bool:
    async with Admin(running.system.settings.kafka) as admin:
        group = running.system.settings.topics.prefix + role
        return bool(await admin.committed(group, [(topic, 0)]))


async def test_each_metric_that_another_test_moves_names_a_test_that_exists() -> None:
    for name, (path, test) in MOVED_ELSEWHERE.items():
        assert name in rows()
        assert defines(Path(path), test), test
