"""Each row of the API table in docs/errors.md, as the service really answers."""

import re
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import msgspec
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from orchestrator.api.access.browsers import BrowserRules
from orchestrator.api.errors import ApiError, Kind, replica_stopping, unavailable
from orchestrator.api.grpc.errors import STATUSES, internal
from orchestrator.api.http.problems import on_fault, on_refusal, on_routing, refusal_response
from orchestrator.api.letters.replay import refused_replay
from schemas.gen.orchestrator.v1 import dead_letters_pb2 as letters_pb
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from streams.letters.errors import ReplaySupersededError
from tests.api.calling import ACME, WAIT_S, Served, a_body, a_create, as_tenant, refusal_of
from tests.api.letters.dead_lettering import a_dead_letter, another_replay

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Row(NamedTuple):
    code: str
    grpc: str
    http: int


def rows() -> dict[str, Row]:
    page = Path("docs/errors.md").read_text("utf-8")
    table = page.partition("## An API call that is refused")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `(\w+)` \| (\S+) \| (\d+) \|", table, re.MULTILINE)
    return {code: Row(code, status, int(number)) for code, status, number in found}


ROWS = rows()
NOT_FROM_OUTSIDE = {
    "INTERNAL",
    "UNAVAILABLE",
    "REQUEST_INVALID",
    "REPLAY_SUPERSEDED",
    "REPLICA_STOPPING",
    "HOST_REFUSED",
    "ORIGIN_REFUSED",
}
"""The outages have tests of their own; the others no caller can bring about."""
BY_KEY = {
    "KEY_REVOKED": "revoked",
    "KEY_EXPIRED": "expired",
    "SCOPE_MISSING": "reader",
    "TENANT_MISSING": "gateway",
}
"""The key with which a create is refused so."""
OF_OTHER = {"orchestrator-tenant": "other"}
HTTP: dict[str, tuple[str, str, dict[str, Any]]] = {
    "FIELD_INVALID": ("POST", "/api/v1/tasks", {"json": a_body(priority=11)}),
    "JSON_INVALID": ("POST", "/api/v1/tasks", {"json": a_body(input=[])}),
    "ID_INVALID": ("GET", "/api/v1/tasks/a b", {}),
    "TASK_TYPE_UNKNOWN": ("POST", "/api/v1/tasks", {"json": a_body(type="nothing")}),
    "CURSOR_INVALID": ("GET", "/api/v1/tasks?page_token=x", {}),
    "UNAUTHENTICATED": ("GET", "/api/v1/tasks", {"headers": {"Authorization": "Bearer x"}}),
    **{
        code: ("POST", "/api/v1/tasks", {"json": a_body(), "headers": dict(as_tenant(name))})
        for code, name in BY_KEY.items()
    },
    "TENANT_DENIED": ("GET", "/api/v1/tasks", {"headers": OF_OTHER}),
    "TASK_NOT_FOUND": ("GET", "/api/v1/tasks/nobody", {}),
    "BODY_TOO_LARGE": ("POST", "/api/v1/tasks", {"content": b" " * 9_000_000}),
    "MEDIA_TYPE_UNKNOWN": ("POST", "/api/v1/tasks", {"content": b"{}"}),
    "PATH_UNKNOWN": ("GET", "/nothing", {}),
    "METHOD_NOT_ALLOWED": ("DELETE", "/api/v1/tasks", {}),
}
GRPC: dict[str, tuple[str, Any, Any]] = {
    "FIELD_INVALID": ("CreateTask", a_create(priority=11), ACME),
    "JSON_INVALID": ("CreateTask", a_create(input="[]"), ACME),
    "ID_INVALID": ("GetTask", pb.GetTaskRequest(task_id="a b"), ACME),
    "TASK_TYPE_UNKNOWN": ("CreateTask", a_create(type="nothing"), ACME),
    "CURSOR_INVALID": ("ListTasks", pb.ListTasksRequest(page_token="x"), ACME),
    "UNAUTHENTICATED": ("ListTasks", pb.ListTasksRequest(), ()),
    **{code: ("CreateTask", a_create(), as_tenant(name)) for code, name in BY_KEY.items()},
    "TENANT_DENIED": ("ListTasks", pb.ListTasksRequest(), (*ACME, *OF_OTHER.items())),
    "TASK_NOT_FOUND": ("GetTask", pb.GetTaskRequest(task_id="nobody"), ACME),
}
ONLY_HTTP = {"HOST_REFUSED", "ORIGIN_REFUSED"}
OF_A_TASK = {"TASK_NOT_PENDING", "IDEMPOTENCY_MISMATCH"}
OF_A_CONNECTION = {"BODY_LATE", "HEADERS_LATE", "HEADERS_TOO_LARGE", "CONNECTIONS_TOO_MANY"}
"""In ``test_connection_limits.py``."""
OF_A_TENANT = {
    *("RATE_LIMITED", "TASKS_LIMITED", "HELD_LIMITED"),
    *("STREAMS_LIMITED", "WORK_LIMITED", "PRIORITY_DENIED"),
}
"""In ``test_tenant_limits.py``."""
OF_A_LETTER = {"LETTER_UNKNOWN", "EDIT_REFUSED", "REPLAY_RUNNING"}


async def test_every_row_has_a_test() -> None:
    tested = set(HTTP) | OF_A_TASK | OF_A_CONNECTION | OF_A_TENANT | OF_A_LETTER | NOT_FROM_OUTSIDE

    assert set(ROWS) == tested
    assert {code for code, row in ROWS.items() if row.grpc != "none"} == (
        set(GRPC) | OF_A_TASK | OF_A_TENANT | OF_A_LETTER | NOT_FROM_OUTSIDE - ONLY_HTTP
    )


@pytest.mark.parametrize("code", HTTP)
async def test_a_row_is_what_http_answers(served: Served, code: str) -> None:
    method, path, rest = HTTP[code]
    answer = await served.one.shared("acme").request(method, path, **rest)

    assert (answer.status_code, answer.json()["code"]) == (ROWS[code].http, code)
    assert answer.json()["status"] == answer.status_code


@pytest.mark.parametrize("code", GRPC)
async def test_a_row_is_what_grpc_answers(served: Served, code: str) -> None:
    rpc, request, metadata = GRPC[code]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(served.one.stub, rpc)(request, metadata=metadata)

    told = refusal_of(refused.value)
    assert (told.status.name, told.reason) == (ROWS[code].grpc, code)


async def test_the_rows_about_a_task_are_what_both_answer(served: Served) -> None:
    key = str(uuid.uuid4())
    done = await served.one.stub.CreateAndExecuteTask(
        a_create(request_id=key), metadata=ACME, timeout=WAIT_S
    )
    asked: dict[str, tuple[Any, Any, str, Any]] = {
        "TASK_NOT_PENDING": (
            served.one.stub.ExecuteTask,
            pb.ExecuteTaskRequest(task_id=done.task.id),
            f"/api/v1/tasks/{done.task.id}:execute",
            {},
        ),
        "IDEMPOTENCY_MISMATCH": (
            served.one.stub.CreateTask,
            a_create(request_id=key, metadata='{"other": 1}'),
            "/api/v1/tasks",
            a_body(request_id=key, metadata={"other": 1}),
        ),
    }
    for code, (call, request, path, body) in asked.items():
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(request, metadata=ACME)
        told = refusal_of(refused.value)
        answer = await served.one.shared("acme").post(path, json=body)
        assert (told.status.name, told.reason) == (ROWS[code].grpc, code)
        assert (answer.status_code, answer.json()["code"]) == (ROWS[code].http, code)


async def test_the_rows_about_a_dead_letter_are_what_both_answer(served: Served) -> None:
    letter_id = await a_dead_letter(served, "acme")
    letters, path = served.one.letters, "/api/v1/dead-letters"
    edit: dict[str, Any] = {"changes": ["priority=many"], "reason": "a test"}
    replay: dict[str, Any] = {"ids": [letter_id], "dry_run": False, "reason": "a test"}
    asked: dict[str, tuple[Any, Any, str, Any]] = {
        "LETTER_UNKNOWN": (
            letters.DiscardDeadLetter,
            letters_pb.DiscardDeadLetterRequest(letter_id="nobody", reason="a test"),
            f"{path}/nobody:discard",
            {"reason": "a test"},
        ),
        "EDIT_REFUSED": (
            letters.EditDeadLetter,
            letters_pb.EditDeadLetterRequest(letter_id=letter_id, **edit),
            f"{path}/{letter_id}:edit",
            edit,
        ),
        "REPLAY_RUNNING": (
            letters.ReplayDeadLetters,
            letters_pb.ReplayDeadLettersRequest(**replay),
            f"{path}:replay",
            replay,
        ),
    }
    async with another_replay(served):
        for code, (call, request, place, body) in asked.items():
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(request, metadata=ACME)
            told = refusal_of(refused.value)
            answer = await served.one.shared("acme").post(place, json=body)
            assert (told.status.name, told.reason) == (ROWS[code].grpc, code)
            assert (answer.status_code, answer.json()["code"]) == (ROWS[code].http, code)


async def test_the_rows_that_no_caller_can_bring_about_are_told_without_a_reason() -> None:
    request = Request({"type": "http", "path": "/", "headers": []})
    fault = internal(ValueError("a secret"))
    away = unavailable("the broker does not answer")
    superseded = refused_replay(ReplaySupersededError("by one of a secret tenant"))
    open_rules = BrowserRules(open=True)
    foreign = open_rules.refusal("GET", ["evil.example"], {})
    page = open_rules.refusal(None, ["localhost"], {"origin": "https://evil.example"})
    assert foreign is not None
    assert page is not None
    answers = {
        "HOST_REFUSED": refusal_response(foreign),
        "ORIGIN_REFUSED": refusal_response(page),
        "INTERNAL": await on_fault(request, ValueError("a secret")),
        "UNAVAILABLE": await on_refusal(request, away),
        "REQUEST_INVALID": await on_routing(request, HTTPException(400)),
        "REPLAY_SUPERSEDED": await on_refusal(request, superseded),
        "REPLICA_STOPPING": await on_refusal(request, replica_stopping("task_1")),
    }

    assert isinstance(fault, ApiError)
    assert "secret" not in str(fault)
    assert STATUSES[fault.kind].name == ROWS["INTERNAL"].grpc
    assert STATUSES[Kind.UNAVAILABLE].name == ROWS["UNAVAILABLE"].grpc
    assert STATUSES[superseded.kind].name == ROWS["REPLAY_SUPERSEDED"].grpc
    for code, answer in answers.items():
        problem = msgspec.json.decode(answer.body)
        assert (answer.status_code, problem["code"]) == (ROWS[code].http, code)
        assert b"secret" not in answer.body
