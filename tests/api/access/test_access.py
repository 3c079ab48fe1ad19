"""Every RPC, path and stream, by every kind of caller.

No key, a wrong, expired or revoked one, one that only reads or only writes, another tenant's, the
right one, and those of all tenants, with and without naming a tenant.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, cast

import grpc
import httpx
import pytest
import websockets

from orchestrator.api.access.rights import READ, WRITE, Need, Right
from orchestrator.api.grpc.needs import NEEDS
from orchestrator.api.http.app import READY, http_app
from orchestrator.api.http.contract import OPERATIONS, Operation
from orchestrator.api.http.counting import Counting
from orchestrator.api.http.gate import Gate
from orchestrator.api.http.traced_app import TracedApp
from orchestrator.api.http.websocket import SOCKET_NEED
from orchestrator.api.settings import ApiSettings
from schemas.gen.orchestrator.v1 import dead_letters_pb2 as letters_pb
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from tests.api.calling import ACME, KEYS, WAIT_S, Served, a_body, a_create, refusal_of
from tests.api.letters.dead_lettering import a_dead_letter

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVICES = ("orchestrator.v1.Orchestrator", "orchestrator.v1.DeadLetters")
ABOUT_A_TASK = {
    "ExecuteTask": pb.ExecuteTaskRequest,
    "GetTask": pb.GetTaskRequest,
    "ExplainTask": pb.ExplainTaskRequest,
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


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of caller: the key, and the tenant that it names."""

    key: str | None
    tenant: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        given = {} if self.key is None else {"authorization": f"Bearer {self.key}"}
        return given if self.tenant is None else {**given, "orchestrator-tenant": self.tenant}


CALLERS = {
    "no key": Kind(None),
    "wrong": Kind("orch_nobody"),
    "expired": Kind(KEYS["expired"]),
    "revoked": Kind(KEYS["revoked"]),
    "read only": Kind(KEYS["reader"]),
    "write only": Kind(KEYS["writer"]),
    "other tenant": Kind(KEYS["other"]),
    "names another": Kind(KEYS["acme"], "other"),
    "right": Kind(KEYS["acme"], "acme"),
    "operator": Kind(KEYS["operator"], "acme"),
    "operator of all": Kind(KEYS["operator"]),
    "operator of letters": Kind(KEYS["letters-only"]),
    "all tenants": Kind(KEYS["gateway"], "acme"),
    "no tenant named": Kind(KEYS["gateway"]),
}
REFUSED = {
    "no key": "UNAUTHENTICATED",
    "wrong": "UNAUTHENTICATED",
    "expired": "KEY_EXPIRED",
    "revoked": "KEY_REVOKED",
    "names another": "TENANT_DENIED",
}
STATUSES = {
    "UNAUTHENTICATED": (grpc.StatusCode.UNAUTHENTICATED, 401),
    "KEY_EXPIRED": (grpc.StatusCode.UNAUTHENTICATED, 401),
    "KEY_REVOKED": (grpc.StatusCode.UNAUTHENTICATED, 401),
    "TENANT_DENIED": (grpc.StatusCode.PERMISSION_DENIED, 403),
    "SCOPE_MISSING": (grpc.StatusCode.PERMISSION_DENIED, 403),
    "TENANT_MISSING": (grpc.StatusCode.INVALID_ARGUMENT, 400),
    "TASK_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, 404),
    "LETTER_UNKNOWN": (grpc.StatusCode.NOT_FOUND, 404),
    "TASK_NOT_RETRIABLE": (grpc.StatusCode.FAILED_PRECONDITION, 409),
}


def expected(caller: str, need: Need, about: str | None, right: str | None) -> str | None:
    """The code that a call is refused with; None: it is answered.

    Args:
        caller: a name in :data:`CALLERS`.
        need: what the operation needs.
        about: the code of an id that is not the caller's; None if the call names no id.
        right: the code that the right caller gets: a held task cannot be retried.
    """
    if caller in REFUSED:
        return REFUSED[caller]
    if caller == "operator of letters":
        return right if need.of_letters else "SCOPE_MISSING"
    if caller == "operator of all":
        return right if need.of_letters else "TENANT_MISSING"
    if caller == "no tenant named":
        return "TENANT_MISSING"
    if caller == "read only" and need.scope is not Right.READ:
        return "SCOPE_MISSING"
    if caller == "write only" and need.scope is not Right.WRITE:
        return "SCOPE_MISSING"
    if caller == "other tenant" and about is not None:
        return about
    return right


async def code_of(call: Any, *, streams: bool) -> str | None:
    """How an RPC ends; a stream is known by its first answer."""
    try:
        if streams:
            await call.read()
            call.cancel()
        else:
            await call
    except grpc.aio.AioRpcError as error:
        told = refusal_of(error)
        assert STATUSES[told.reason][0] is told.status
        return told.reason
    return None


@pytest.mark.parametrize("rpc", RPCS)
async def test_an_rpc_is_for_callers_with_the_right(served: Served, rpc: str) -> None:
    about, right = None, None
    if rpc in ABOUT_A_TASK:
        about, right = "TASK_NOT_FOUND", "TASK_NOT_RETRIABLE" if rpc == "RetryTask" else None
    found, wanted = {}, {}
    for name, kind in CALLERS.items():
        request = OF_A_TENANT.get(rpc)
        if request is None:
            made = await served.one.stub.CreateTask(a_create(hold=True), metadata=ACME)
            request = ABOUT_A_TASK[rpc](task_id=made.task.id)
            if rpc == "WaitTask":
                request.timeout.FromMilliseconds(1)
        metadata = tuple(kind.headers.items())
        call = getattr(served.one.stub, rpc)(request, metadata=metadata, timeout=30)
        found[name] = await code_of(call, streams=rpc == "WatchTask")
        wanted[name] = expected(name, NEEDS[rpc], about, right)

    assert found == wanted


@pytest.mark.parametrize("rpc", LETTER_RPCS)
async def test_an_rpc_about_dead_letters_is_for_callers_with_the_right(
    served: Served, rpc: str
) -> None:
    if (make := ABOUT_A_LETTER.get(rpc)) is None:
        about, request = (
            None,
            {
                "ListDeadLetters": letters_pb.ListDeadLettersRequest(),
                "GetDeadLetterStats": letters_pb.GetDeadLetterStatsRequest(),
            }[rpc],
        )
    else:
        about, request = "LETTER_UNKNOWN", make(await a_dead_letter(served, "acme"))
    found = {}
    for name, kind in CALLERS.items():
        metadata = tuple(kind.headers.items())
        call = getattr(served.one.letters, rpc)(request, metadata=metadata, timeout=30)
        found[name] = await code_of(call, streams=False)

    assert found == {name: expected(name, NEEDS[rpc], about, None) for name in CALLERS}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: f"{o.method} {o.path}")
async def test_a_path_is_for_callers_with_the_right(served: Served, operation: Operation) -> None:
    of_letter = "{letter_id}" in operation.path
    letter_id = await a_dead_letter(served, "acme") if of_letter else ""
    about = "LETTER_UNKNOWN" if of_letter else None
    if "{task_id}" in operation.path:
        about = "TASK_NOT_FOUND"
    right = "TASK_NOT_RETRIABLE" if operation.name == "retry" else None
    found, wanted = {}, {}
    for name, kind in CALLERS.items():
        created = await served.one.shared("acme").post("/api/v1/tasks", json=a_body(hold=True))
        task_id = created.json()["task"]["id"]
        path = operation.path.format(task_id=task_id, conversation_id="c", letter_id=letter_id)
        found[name] = await path_code(served, operation, path, kind)
        wanted[name] = expected(name, operation.need, about, right)

    assert found == wanted


async def path_code(served: Served, operation: Operation, path: str, kind: Kind) -> str | None:
    body = BODIES.get(operation.name)
    async with served.one.http(None).stream(
        operation.method, path, json=body, headers=kind.headers
    ) as answer:
        if answer.status_code in operation.answers or (
            operation.streams and answer.status_code == 200
        ):
            return None
        code: str = json.loads(await answer.aread())["code"]
        assert STATUSES[code][1] == answer.status_code
        return code


@pytest.mark.parametrize("caller", CALLERS)
async def test_a_stream_of_a_create_is_for_callers_with_the_right(
    served: Served, caller: str
) -> None:
    headers = {**CALLERS[caller].headers, "Accept": "text/event-stream"}
    async with served.one.http(None).stream(
        "POST", "/api/v1/tasks:execute", json=a_body(), headers=headers
    ) as answer:
        code = None if answer.status_code == 200 else json.loads(await answer.aread())["code"]

    assert code == expected(caller, WRITE, None, None)


@pytest.mark.parametrize("caller", CALLERS)
async def test_a_websocket_is_for_callers_with_the_right(served: Served, caller: str) -> None:
    created = await served.one.shared("acme").post("/api/v1/tasks", json=a_body(hold=True))
    task_id = created.json()["task"]["id"]
    url = f"{served.one.url.replace('http', 'ws')}/api/v1/ws"
    headers = CALLERS[caller].headers
    refused = expected(caller, SOCKET_NEED, None, None)
    if refused is not None:
        with pytest.raises(websockets.InvalidStatus) as handshake:
            await websockets.connect(url, additional_headers=headers)
        assert json.loads(handshake.value.response.body or b"")["code"] == refused
        return
    codes = []
    async with websockets.connect(url, additional_headers=headers) as socket:
        for action in ("subscribe", "cancel"):
            await socket.send(json.dumps({"action": action, "task_id": task_id}))
            codes.append(await answered(socket, action))

    assert codes == [
        expected(caller, SOCKET_NEED, "TASK_NOT_FOUND", None),
        expected(caller, WRITE, "TASK_NOT_FOUND", None),
    ]


async def answered(socket: websockets.ClientConnection, action: str) -> str | None:
    """The code that a message is refused with; None: it is carried out."""
    done = {"subscribe": "event", "cancel": "cancelled"}[action]
    async with asyncio.timeout(WAIT_S):
        while True:
            told = json.loads(await socket.recv())
            if told["type"] == "error":
                code: str = told["problem"]["code"]
                return code
            if told["type"] == done:
                return None


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "orchestrator-tenant"])
async def test_a_caller_that_is_named_twice_is_refused_on_every_transport(
    served: Served, name: str
) -> None:
    key = f"Bearer {KEYS['acme']}"
    value = "acme" if name == "orchestrator-tenant" else key
    headers = [("authorization", key)] if name == "orchestrator-tenant" else []
    headers += [(name, value), (name, value)]
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{served.one.url}/api/v1/tasks", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "REQUEST_INVALID")
    url = f"{served.one.url.replace('http', 'ws')}/api/v1/ws"
    with pytest.raises(websockets.InvalidStatus) as handshake:
        await websockets.connect(url, additional_headers=headers)
    assert json.loads(handshake.value.response.body or b"")["code"] == "REQUEST_INVALID"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.one.stub.ListTasks(pb.ListTasksRequest(), metadata=tuple(headers))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal_of(refused.value).reason == "REQUEST_INVALID"


async def test_every_rpc_says_what_it_needs() -> None:
    assert sorted(NEEDS) == sorted([*RPCS, *LETTER_RPCS])


async def test_every_path_says_what_it_needs_or_is_open_to_all() -> None:
    nothing = cast(Any, None)
    app = http_app(nothing, ApiSettings(), [], lambda: READY)
    assert isinstance(app, Counting)
    assert isinstance(app.inner, TracedApp)
    gate = app.inner.inner
    assert isinstance(gate, Gate)
    paths = {route.path for route in cast(Any, gate.inner).routes}
    operations = {operation.path for operation in OPERATIONS}

    assert paths - operations == OPEN_PATHS | {"/api/v1/ws"}
    assert SOCKET_NEED == READ


async def test_what_only_shows_needs_to_read_and_what_changes_needs_to_write() -> None:
    rights = {name: need.scope for name, need in NEEDS.items()}
    shows = [name for name in NEEDS if name.startswith(("Get", "Explain", "List", "Watch", "Wait"))]

    assert [name for name in rights if rights[name] is Right.READ] == shows
    assert [name for name in rights if NEEDS[name].of_letters] == [
        name for name in NEEDS if "DeadLetter" in name
    ]
    for operation in OPERATIONS:
        reads = operation.need.scope is Right.READ
        assert reads == (operation.method == "GET"), operation.name
        assert operation.need.of_letters == ("/dead-letters" in operation.path)
    assert Right.OPERATE not in {*rights.values(), *(o.need.scope for o in OPERATIONS)}


OPEN_PATHS = {
    *("/openapi.json", "/healthz", "/readyz"),
    *("/schemas/ids/{schema_id}", "/schemas/types", "/config", "/config/{subject}"),
    *("/subjects", "/subjects/{subject}", "/subjects/{subject}/versions"),
    "/subjects/{subject}/versions/{version}",
}
"""They show nothing of a tenant."""
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
