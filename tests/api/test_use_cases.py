"""The seed's use cases over both protocols, on the real stack."""

import json
import uuid

import grpc
import pytest

from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from tests.api.calling import ACME, WAIT_S, Served, a_body, a_create, as_tenant, refusal_of, sse

pytestmark = pytest.mark.asyncio(loop_scope="session")

HANGING = as_tenant("hanging")


async def test_a_task_is_created_and_found_at_once_over_grpc(served: Served) -> None:
    created = await served.one.stub.CreateTask(a_create(priority=7), metadata=ACME)
    got = await served.two.stub.GetTask(pb.GetTaskRequest(task_id=created.task.id), metadata=ACME)

    assert got.task.id == created.task.id
    assert (got.task.type, got.task.priority, got.task.tenant_id) == ("rag", 7, "acme")


async def test_a_task_is_created_and_found_at_once_over_http(served: Served) -> None:
    created = await served.one.http().post("/api/v1/tasks", json=a_body(priority=7))
    location = created.headers["location"]
    got = await served.two.http().get(location)

    assert (created.status_code, got.status_code) == (201, 200)
    assert got.json()["id"] == created.json()["task"]["id"]
    assert (got.json()["priority"], got.json()["tenant_id"]) == (7, "acme")


async def test_a_task_is_created_and_executed_over_grpc(served: Served) -> None:
    done = await served.one.stub.CreateAndExecuteTask(a_create(), metadata=ACME, timeout=WAIT_S)

    assert done.task.status == pb.TASK_STATUS_COMPLETED
    assert "dead letter" in json.loads(done.output)["answer"].lower()
    assert [step.name for step in done.task.steps] == ["retrieve", "generate"]
    assert done.task.usage.cost_micros > 0


async def test_a_task_is_created_and_executed_over_http(served: Served) -> None:
    done = await served.one.http().post(
        "/api/v1/tasks:execute", json=a_body(), headers={"Prefer": "wait=60"}
    )

    assert done.status_code == 200
    assert done.headers["preference-applied"] == "wait=60"
    assert done.json()["task"]["status"] == "completed"
    assert "dead letter" in done.json()["task"]["output"]["answer"].lower()


async def test_a_task_is_created_and_streamed_over_http(served: Served) -> None:
    accept = {"Accept": "text/event-stream"}
    async with served.one.http().stream(
        "POST", "/api/v1/tasks:execute", json=a_body(), headers=accept
    ) as response:
        events = [item async for item in sse(response) if item[1] == "event"]

    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    assert [data["kind"] for _, _, data in events][-1] == "completed"
    assert "dead letter" in events[-1][2]["output"]["answer"].lower()


async def test_a_held_task_is_executed_over_grpc(served: Served) -> None:
    held = await served.one.stub.CreateTask(a_create(hold=True), metadata=ACME)
    request = pb.ExecuteTaskRequest(task_id=held.task.id)
    request.wait.FromSeconds(60)
    done = await served.two.stub.ExecuteTask(request, metadata=ACME)

    assert done.task.status == pb.TASK_STATUS_COMPLETED
    assert json.loads(done.output)["answer"]


async def test_a_held_task_is_executed_over_http(served: Served) -> None:
    held = await served.one.http().post("/api/v1/tasks", json=a_body(hold=True))
    path = f"/api/v1/tasks/{held.json()['task']['id']}:execute"
    done = await served.two.http().post(path, headers={"Prefer": "wait=60"})

    assert done.json()["status"] == "completed"


async def test_a_task_that_is_not_pending_is_not_executed(served: Served) -> None:
    done = await served.one.stub.CreateAndExecuteTask(a_create(), metadata=ACME, timeout=WAIT_S)
    request = pb.ExecuteTaskRequest(task_id=done.task.id)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.one.stub.ExecuteTask(request, metadata=ACME)
    over_http = await served.one.http().post(f"/api/v1/tasks/{done.task.id}:execute")

    told = refusal_of(refused.value)
    assert (told.status, told.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "TASK_NOT_PENDING",
    )
    assert (over_http.status_code, over_http.json()["code"]) == (409, "TASK_NOT_PENDING")


async def test_a_conversation_lists_its_tasks_newest_first(served: Served) -> None:
    conversation = f"c-{uuid.uuid4()}"
    made = []
    for _ in range(3):
        done = await served.one.stub.CreateAndExecuteTask(
            a_create(conversation_id=conversation), metadata=ACME, timeout=WAIT_S
        )
        made.append(done.task.id)
    await served.running.ended(made)
    path = f"/api/v1/conversations/{conversation}/tasks"
    page = await served.two.http().get(path, params={"page_size": 2})
    rest = await served.two.http().get(
        path, params={"page_size": 2, "page_token": page.json()["next_page_token"]}
    )
    listed = await served.two.stub.ListTasks(
        pb.ListTasksRequest(conversation_id=conversation), metadata=ACME
    )
    others = await served.two.stub.ListTasks(
        pb.ListTasksRequest(conversation_id=conversation), metadata=as_tenant("other")
    )

    over_http = [task["id"] for task in page.json()["tasks"] + rest.json()["tasks"]]
    assert over_http == made[::-1]
    assert rest.json()["next_page_token"] is None
    assert [task.id for task in listed.tasks] == made[::-1]
    assert list(others.tasks) == []


async def test_a_running_task_is_cancelled_over_grpc(served: Served) -> None:
    created = await served.one.stub.CreateTask(a_create(), metadata=HANGING)
    request = pb.CancelTaskRequest(task_id=created.task.id, reason="not needed")
    cancelled = await served.two.stub.CancelTask(request, metadata=HANGING)
    again = await served.one.stub.CancelTask(request, metadata=HANGING)

    assert cancelled.task.status == pb.TASK_STATUS_CANCELLED
    assert cancelled.task.error.code == "TASK_CANCELLED"
    assert again.task.status == pb.TASK_STATUS_CANCELLED


async def test_a_running_task_is_cancelled_over_http(served: Served) -> None:
    created = await served.one.http("hanging").post("/api/v1/tasks", json=a_body())
    path = f"/api/v1/tasks/{created.json()['task']['id']}:cancel"
    cancelled = await served.two.http("hanging").post(path, json={"reason": "not needed"})

    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")


async def test_a_completed_task_is_not_cancelled(served: Served) -> None:
    done = await served.one.stub.CreateAndExecuteTask(a_create(), metadata=ACME, timeout=WAIT_S)
    refused = await served.one.http().post(f"/api/v1/tasks/{done.task.id}:cancel")

    assert (refused.status_code, refused.json()["code"]) == (409, "TASK_NOT_CANCELLABLE")


async def test_a_priority_is_set_over_both(served: Served) -> None:
    created = await served.one.stub.CreateTask(a_create(hold=True), metadata=ACME)
    request = pb.SetTaskPriorityRequest(task_id=created.task.id, priority=9)
    over_grpc = await served.one.stub.SetTaskPriority(request, metadata=ACME)
    path = f"/api/v1/tasks/{created.task.id}:setPriority"
    over_http = await served.two.http().post(path, json={"priority": 1})

    assert over_grpc.task.priority == 9
    assert over_http.json()["priority"] == 1
    assert over_http.json()["sequence"] == over_grpc.task.sequence + 1


async def test_a_task_outlives_its_caller_s_deadline(served: Served) -> None:
    key, slow = str(uuid.uuid4()), as_tenant("slow")
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await served.one.stub.CreateAndExecuteTask(
            a_create(request_id=key), metadata=slow, timeout=0.5
        )
    created = await served.one.stub.CreateTask(a_create(request_id=key), metadata=slow)
    done = await served.two.stub.WaitTask(
        pb.WaitTaskRequest(task_id=created.task.id), metadata=slow, timeout=WAIT_S
    )

    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert created.replayed
    assert done.task.status == pb.TASK_STATUS_COMPLETED


async def test_a_wait_that_ends_early_answers_the_task_as_it_is(served: Served) -> None:
    waited = await served.one.http("hanging").post(
        "/api/v1/tasks:execute", json=a_body(), headers={"Prefer": "wait=0"}
    )

    assert waited.status_code == 202
    assert waited.json()["task"]["status"] in ("pending", "running")


async def test_pending_tasks_are_released_by_priority_then_age(served: Served) -> None:
    tenant = as_tenant("pending")
    made = {}
    for name, priority in (("old", 5), ("new", 5), ("low", 0), ("high", 10)):
        request = a_create(hold=True, priority=priority)
        created = await served.one.stub.CreateTask(request, metadata=tenant)
        made[name] = created.task.id
        await served.one.stub.GetTask(
            pb.GetTaskRequest(task_id=created.task.id, min_sequence=1), metadata=tenant
        )
    first = await served.one.stub.ExecutePendingTasks(
        pb.ExecutePendingTasksRequest(limit=2), metadata=tenant
    )
    path = "/api/v1/tasks:executePending"
    second = await served.one.http("pending").post(path, json={"limit": 10})
    nothing = await served.one.http("pending").post(path)

    assert list(first.task_ids) == [made["high"], made["old"]]
    assert second.json()["task_ids"] == [made["new"], made["low"]]
    assert nothing.json()["task_ids"] == []


async def test_a_failed_task_is_retried(served: Served) -> None:
    refused = as_tenant("refused")
    failed = await served.one.stub.CreateAndExecuteTask(
        a_create(), metadata=refused, timeout=WAIT_S
    )
    retried = await served.two.http("refused").post(
        f"/api/v1/tasks/{failed.task.id}:retry", json={"reason": "mended"}
    )
    unknown = await served.two.http("refused").post(
        f"/api/v1/tasks/{failed.task.id}:retry", json={"from_step": "nothing"}
    )

    assert failed.task.status == pb.TASK_STATUS_FAILED
    assert (failed.task.error.step, failed.task.error.code) == ("retrieve", "SERVICE_REFUSED")
    assert (retried.status_code, retried.json()["run"]) == (200, 2)
    assert unknown.status_code in (400, 409)


async def test_the_audit_trail_and_the_usage_of_a_task_are_told(served: Served) -> None:
    done = await served.one.stub.CreateAndExecuteTask(a_create(), metadata=ACME, timeout=WAIT_S)
    await served.running.ended([done.task.id])
    logs = await served.one.stub.ListTaskLogs(
        pb.ListTaskLogsRequest(task_id=done.task.id), metadata=ACME
    )
    path = f"/api/v1/tasks/{done.task.id}/logs"
    page = (await served.one.http().get(path, params={"page_size": 1})).json()
    usage = await served.one.http().get("/api/v1/usage", params={"by": "model,type"})
    over_grpc = await served.one.stub.GetUsage(pb.GetUsageRequest(by=["type"]), metadata=ACME)

    assert [log.event_type for log in logs.logs][:1] == ["created"]
    assert [log.event_type for log in logs.logs][-1] == "completed"
    assert page["logs"][0]["event_type"] == "created"
    assert page["next_page_token"]
    assert any(group["cost_micros"] > 0 for group in usage.json()["groups"])
    assert [group.type for group in over_grpc.groups] == ["rag"]
