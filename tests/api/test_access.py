"""Every RPC and every path, with no key, a wrong one, another tenant's, and the right one."""

from typing import Any

import grpc
import pytest

from orchestrator.api.http.contract import OPERATIONS, Operation
from schemas.gen.orchestrator.v1 import dead_letters_pb2 as letters_pb
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from tests.api.calling import ACME, Served, a_body, a_create, as_tenant, refusal_of
from tests.api.letters.dead_lettering import a_dead_letter

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVICES = ("orchestrator.v1.Orchestrator", "orchestrator.v1.DeadLetters")
WRONG = (("authorization", "Bearer orch_nobody"),)
ABOUT_A_TASK = {
    "ExecuteTask": pb.ExecuteTaskRequest,
    "GetTask": pb.GetTaskRequest,
    "CancelTask": pb.CancelTaskRequest,
    "SetTaskPriority": pb.SetTaskPriorityRequest,
    "RetryTask": pb.RetryTaskRequest,
    "WatchTask": pb.WatchTaskRequest,
    "WaitTask": pb.WaitTaskRequest,
    "ListTaskLogs": pb.ListTaskLogsRequest,
}
OF_A_TENANT: dict[str, Any] = {
    "CreateTask": a_create(hold=True),
    "CreateAndExecuteTask": a_create(),
    "BatchCreateTasks": pb.BatchCreateTasksRequest(tasks=[a_create(hold=True)]),
    "ListTasks": pb.ListTasksRequest(),
    "ExecutePendingTasks": pb.ExecutePendingTasksRequest(type="nothing"),
    "GetUsage": pb.GetUsageRequest(),
}
ABOUT_A_LETTER: dict[str, Any] = {
    "GetDeadLetter": lambda i: letters_pb.GetDeadLetterRequest(letter_id=i),
    "ReplayDeadLetters": lambda i: letters_pb.ReplayDeadLettersRequest(ids=[i]),
    "EditDeadLetter": lambda i: letters_pb.EditDeadLetterRequest(
        letter_id=i, changes=["priority=3"], reason="a test"
    ),
    "DiscardDeadLetter": lambda i: letters_pb.DiscardDeadLetterRequest(
        letter_id=i, reason="a test"
    ),
}
LETTER_RPCS = sorted(letters_pb.DESCRIPTOR.services_by_name["DeadLetters"].methods_by_name)
RPCS = sorted(pb.DESCRIPTOR.services_by_name["Orchestrator"].methods_by_name)


async def called(
    served: Served, rpc: str, request: Any, metadata: Any, *, of_letters: bool = False
) -> grpc.StatusCode:
    """How a call ends; a stream and a retry are known by their first answer."""
    stub = served.one.letters if of_letters else served.one.stub
    call = getattr(stub, rpc)(request, metadata=metadata, timeout=30)
    try:
        if rpc == "WatchTask":
            await call.read()
            call.cancel()
            return grpc.StatusCode.OK
        await call
    except grpc.aio.AioRpcError as error:
        refusal_of(error)
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("rpc", RPCS)
async def test_an_rpc_is_for_the_holder_of_the_right_key(served: Served, rpc: str) -> None:
    request = OF_A_TENANT.get(rpc)
    if request is None:
        made = await served.one.stub.CreateTask(a_create(hold=True), metadata=ACME)
        request = ABOUT_A_TASK[rpc](task_id=made.task.id)
        if rpc == "WaitTask":
            request.timeout.FromMilliseconds(1)

    nobody = await called(served, rpc, request, ())
    wrong = await called(served, rpc, request, WRONG)
    other = await called(served, rpc, request, as_tenant("other"))
    right = await called(served, rpc, request, ACME)

    assert (nobody, wrong) == (grpc.StatusCode.UNAUTHENTICATED,) * 2
    assert other is (grpc.StatusCode.NOT_FOUND if rpc in ABOUT_A_TASK else grpc.StatusCode.OK)
    # A held task cannot be retried: that is an answer of its own.
    expected = grpc.StatusCode.FAILED_PRECONDITION if rpc == "RetryTask" else grpc.StatusCode.OK
    assert right is expected


@pytest.mark.parametrize("rpc", LETTER_RPCS)
async def test_an_rpc_about_dead_letters_is_for_the_holder_of_the_right_key(
    served: Served, rpc: str
) -> None:
    make = ABOUT_A_LETTER.get(rpc)
    if make is None:
        request = {
            "ListDeadLetters": letters_pb.ListDeadLettersRequest(),
            "GetDeadLetterStats": letters_pb.GetDeadLetterStatsRequest(),
        }[rpc]
    else:
        request = make(await a_dead_letter(served, "acme"))

    async def ends(metadata: Any) -> grpc.StatusCode:
        return await called(served, rpc, request, metadata, of_letters=True)

    nobody, wrong = await ends(()), await ends(WRONG)
    other, right = await ends(as_tenant("other")), await ends(ACME)

    assert (nobody, wrong) == (grpc.StatusCode.UNAUTHENTICATED,) * 2
    assert other is (grpc.StatusCode.NOT_FOUND if make else grpc.StatusCode.OK)
    assert right is grpc.StatusCode.OK


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: f"{o.method} {o.path}")
async def test_a_path_is_for_the_holder_of_the_right_key(
    served: Served, operation: Operation
) -> None:
    created = await served.one.http().post("/api/v1/tasks", json=a_body(hold=True))
    letter_id = await a_dead_letter(served, "acme") if "{letter_id}" in operation.path else ""
    path = operation.path.format(
        task_id=created.json()["task"]["id"], conversation_id="c", letter_id=letter_id
    )
    about_one = "{task_id}" in operation.path or letter_id

    async def status(tenant: str | None, headers: dict[str, str] | None = None) -> int:
        client = served.one.http(tenant)
        async with client.stream(
            operation.method, path, json=BODIES.get(operation.name), headers=headers
        ) as answer:
            return answer.status_code

    nobody = await status(None)
    wrong = await status(None, {"Authorization": "Bearer orch_nobody"})
    other = await status("other")
    right = await status("acme")

    assert (nobody, wrong) == (401, 401)
    assert other == 404 if about_one else other in operation.answers
    assert right in (operation.answers if operation.name != "retry" else (409,)) or (
        operation.streams and right == 200
    )


BODIES: dict[str, Any] = {
    "create": a_body(hold=True),
    "create_batch": {"tasks": [a_body(hold=True)]},
    "create_and_execute": a_body(),
    "execute_pending": {"type": "nothing"},
    "set_priority": {"priority": 1},
    "replay_letters": {"all": True},
    "edit_letter": {"changes": ["priority=3"], "reason": "a test"},
    "discard_letter": {"reason": "a test"},
}


async def test_a_conversation_of_another_tenant_is_empty(served: Served) -> None:
    path = "/api/v1/conversations/c/tasks"

    assert (await served.one.http("other").get(path)).json()["tasks"] == []


async def test_health_and_reflection_need_no_key(served: Served) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    health = health_pb2_grpc.HealthStub(served.one.channel)
    healthy = [
        await health.Check(health_pb2.HealthCheckRequest(service=service)) for service in SERVICES
    ]
    stub = reflection_pb2_grpc.ServerReflectionStub(served.one.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in stub.ServerReflectionInfo(iter([asked])):
        names = [service.name for service in answer.list_services_response.service]

    assert {found.status for found in healthy} == {health_pb2.HealthCheckResponse.SERVING}
    assert set(SERVICES) <= set(names)
    assert (await served.one.http(None).get("/healthz")).status_code == 200
