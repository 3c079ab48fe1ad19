"""Histories and receipts: what the service tells of how a task came to be as it is."""

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from orchestrator.api.server import open_service
from orchestrator.cli.task.message import view_of
from orchestrator.settings import load_settings
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.records import TaskId
from tests.api.calling import ACME, WAIT_S, Replica, Served, a_create, as_tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")

HANGING = as_tenant("hanging")


async def history_of(
    stub: Any, task_id: str, metadata: Any = ACME, *, sequence: int = 0
) -> pb.GetTaskResponse:
    request = pb.GetTaskRequest(task_id=task_id, with_history=True, min_sequence=sequence)
    answer: pb.GetTaskResponse = await stub.GetTask(request, metadata=metadata, timeout=WAIT_S)
    return answer


async def test_a_history_has_every_attempt_with_its_input_and_every_event(served: Served) -> None:
    done = await served.one.stub.CreateAndExecuteTask(
        a_create(request_id="history-1"), metadata=ACME
    )
    told = await history_of(served.two.stub, done.task.id, sequence=done.task.sequence)
    history = told.history

    assert history.request_id == "history-1"
    assert [a.step.name for a in history.attempts] == ["retrieve", "generate"]
    assert all(a.step.input and a.worker and a.HasField("dispatched_at") for a in history.attempts)
    assert [e.sequence for e in history.events] == list(range(1, len(history.events) + 1))
    assert [step.name for step in history.events[0].dispatched] == ["retrieve"]
    assert history.events[-1].kind == "completed"


async def test_a_history_is_not_sent_to_who_does_not_ask_for_it(served: Served) -> None:
    created = await served.one.stub.CreateTask(a_create(hold=True), metadata=ACME)
    got = await served.one.stub.GetTask(pb.GetTaskRequest(task_id=created.task.id), metadata=ACME)

    assert not got.HasField("history")


@pytest.mark.parametrize("postgres", ["with Postgres", "without Postgres"])
async def test_a_replica_that_begins_with_a_snapshot_tells_the_whole_history(
    served: Served, postgres: str
) -> None:
    task_id = (await served.one.stub.CreateTask(a_create(), metadata=HANGING)).task.id
    started = pb.GetTaskRequest(task_id=task_id, min_sequence=2)
    await served.one.stub.GetTask(started, metadata=HANGING)
    # So many events that its owner writes snapshots.
    batch = pb.BatchCreateTasksRequest(tasks=[a_create(hold=True) for _ in range(400)])
    await served.one.stub.BatchCreateTasks(batch, metadata=ACME)
    environment = {
        **dict(served.running.system.environment),
        "ORCH_API_GRPC_PORT": "0",
        "ORCH_API_HTTP_PORT": "0",
    }
    if postgres == "without Postgres":
        environment["ORCH_POSTGRES_DSN"] = "postgresql://127.0.0.1:1/none"

    async with asyncio.timeout(WAIT_S):
        while True:
            async with open_service(load_settings(environment)) as fresh:
                live = fresh.parts.live.task(TaskId(task_id))
                assert live is not None
                if live.whole:
                    continue  # no snapshot yet
                replica = Replica(int(fresh.grpc_address.rpartition(":")[2]), 0)
                again = await history_of(replica.stub, task_id, HANGING)
                await replica.close()
                told = await history_of(
                    served.one.stub, task_id, HANGING, sequence=again.task.sequence
                )
                if told.task.sequence == again.task.sequence:
                    break  # else it went on meanwhile

    assert again.history.source == ("log" if "without" in postgres else "postgres")
    # As JSON values: Postgres writes documents in its own form.
    again.history.source = told.history.source
    assert view_of(again.task, again.history) == view_of(told.task, told.history)


async def test_a_receipt_tells_where_a_create_is_and_a_repeated_one_has_none(
    served: Served,
) -> None:
    request = a_create(hold=True, request_id="receipt-1")
    first = await served.one.stub.CreateTask(request, metadata=ACME)
    second = await served.two.stub.CreateTask(request, metadata=ACME)

    assert first.receipt.topic == "api.task-created.v1"
    assert not first.receipt.HasField("answer")
    assert second.replayed
    assert not second.HasField("receipt")


async def test_a_receipt_of_an_order_holds_the_event_that_it_brought_about(served: Served) -> None:
    task_id = (await served.one.stub.CreateTask(a_create(hold=True), metadata=ACME)).task.id
    request = pb.SetTaskPriorityRequest(task_id=task_id, priority=9, reason="now")
    changed = await served.two.stub.SetTaskPriority(request, metadata=ACME)
    executed = await served.two.stub.ExecuteTask(
        pb.ExecuteTaskRequest(task_id=task_id, reason="go"), metadata=ACME
    )

    answers = [changed.receipt.answer, executed.receipt.answer]
    assert [(answer.kind, answer.reason) for answer in answers] == [
        ("priority_changed", "now"),
        ("execute_requested", "go"),
    ]
    assert changed.receipt.topic == "api.task-commands.v1"
    assert changed.receipt.command_id != executed.receipt.command_id


async def test_a_refusal_carries_its_receipt_with_the_answer(served: Served) -> None:
    done = await served.one.stub.CreateAndExecuteTask(a_create(), metadata=ACME)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.one.stub.CancelTask(pb.CancelTaskRequest(task_id=done.task.id), metadata=ACME)

    answer = detail(refused.value, pb.Receipt).answer
    assert (answer.kind, answer.reason) == ("command_refused", "TASK_NOT_CANCELLABLE")


async def test_an_order_that_nobody_answers_has_a_receipt_without_an_answer(
    served: Served,
) -> None:
    task_id = (await served.one.stub.CreateTask(a_create(hold=True), metadata=ACME)).task.id
    request = pb.RetryTaskRequest(task_id=task_id, run=7)
    request.answer_within.FromMilliseconds(300)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.one.stub.RetryTask(request, metadata=ACME)

    receipt = detail(refused.value, pb.Receipt)
    assert detail(refused.value, ErrorInfo).reason == "UNAVAILABLE"
    assert receipt.command_id
    assert not receipt.HasField("answer")


def detail(error: grpc.aio.AioRpcError, kind: Any) -> Any:
    """The one detail of this kind."""
    status = rpc_status.from_call(error)
    assert status is not None
    [packed] = [detail for detail in status.details if detail.Is(kind.DESCRIPTOR)]
    found = kind()
    packed.Unpack(found)
    return found
