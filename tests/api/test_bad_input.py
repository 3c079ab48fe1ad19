"""Whatever comes in: an answer below 500 that names the field, never a traceback."""

import gzip
import json
from typing import Any

import grpc
import pytest

from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from tests.api.calling import ACME, Served, a_body, a_create, refusal_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = {"Content-Type": "application/json"}
DEEP = "[" * 5_000 + "]" * 5_000
BODIES = [
    pytest.param(b"{", "JSON_INVALID", None, id="no JSON"),
    pytest.param(b"", "MEDIA_TYPE_UNKNOWN", None, id="no body"),
    pytest.param(b"[]", "FIELD_INVALID", "body", id="no object"),
    pytest.param(b'{"type": "rag", "inptu": {}}', "FIELD_INVALID", "inptu", id="unknown field"),
    pytest.param(b'{"input": {}}', "FIELD_INVALID", "body", id="a field is missing"),
    pytest.param(b'{"type": 5}', "FIELD_INVALID", "type", id="wrong type"),
    pytest.param(b'{"type": "rag", "priority": 11}', "FIELD_INVALID", "priority", id="priority"),
    pytest.param(
        b'{"type": "rag", "priority": ' + b"9" * 400 + b"}", None, None, id="a huge number"
    ),
    pytest.param(b'{"type": "nothing"}', "TASK_TYPE_UNKNOWN", "type", id="unknown type"),
    pytest.param(b'{"type": "rag", "input": []}', "JSON_INVALID", "input", id="input no object"),
    pytest.param(b'{"type": "rag", "input": {}}', "INPUT_INCOMPLETE", "input", id="no query"),
    pytest.param(
        b'{"type": "rag", "input": {"query": "a\\u0000"}}',
        "TEXT_NOT_STORABLE",
        "input",
        id="NUL",
    ),
    pytest.param(
        b'{"type": "rag", "input": {"query": "\\ud800"}}', None, None, id="half a surrogate pair"
    ),
    pytest.param(
        b'{"type": "rag", "input": {"query": 1e999}}', None, None, id="an infinite number"
    ),
    pytest.param(
        b'{"type": "rag", "input": ' + DEEP.encode() + b"}", "JSON_TOO_DEEP", None, id="deep"
    ),
    pytest.param(b'{"type": "rag\xff"}', "JSON_INVALID", None, id="no UTF-8"),
    pytest.param(
        b'{"type": "rag", "input": {"query": "' + b"a" * 300_000 + b'"}}',
        "INPUT_TOO_LARGE",
        "input",
        id="a large input",
    ),
    pytest.param(
        b'{"type": "rag", "conversation_id": "a b"}',
        "ID_INVALID",
        "conversation_id",
        id="an odd id",
    ),
    pytest.param(
        b'{"type": "rag", "deadline_at": "2030-01-01T00:00:00"}',
        "FIELD_INVALID",
        "deadline_at",
        id="a time without a zone",
    ),
    pytest.param(
        b'{"type": "rag", "deadline_at": "9999-01-01T00:00:00Z"}',
        "TIMEOUT_OUT_OF_RANGE",
        "deadline_at",
        id="a far deadline",
    ),
    pytest.param(
        b'{"type": "rag", "request_id": ""}', "ID_INVALID", "request_id", id="an empty key"
    ),
]


@pytest.mark.parametrize(("body", "code", "field"), BODIES)
async def test_a_bad_body_is_refused_with_a_code_and_its_field(
    served: Served, body: bytes, code: str | None, field: str | None
) -> None:
    headers = JSON if body else {}
    answer = await served.one.shared("acme").post("/api/v1/tasks", content=body, headers=headers)

    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in answer.text
    problem = answer.json()
    assert code in (None, problem["code"])
    if field is not None:
        assert [error["name"] for error in problem["errors"]] == [field]


async def test_another_content_type_is_refused(served: Served) -> None:
    answer = await served.one.shared("acme").post(
        "/api/v1/tasks", content=json.dumps(a_body()), headers={"Content-Type": "text/plain"}
    )

    assert (answer.status_code, answer.json()["code"]) == (415, "MEDIA_TYPE_UNKNOWN")


async def test_a_compressed_body_is_refused(served: Served) -> None:
    answer = await served.one.shared("acme").post(
        "/api/v1/tasks",
        content=gzip.compress(json.dumps(a_body()).encode()),
        headers={**JSON, "Content-Encoding": "gzip"},
    )

    assert (answer.status_code, answer.json()["code"]) == (415, "MEDIA_TYPE_UNKNOWN")
    assert "gzip" in answer.json()["detail"]


async def test_a_body_that_is_too_large_is_not_read(served: Served) -> None:
    answer = await served.one.shared("acme").post(
        "/api/v1/tasks", content=b" " * (9 * 1024 * 1024), headers=JSON
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize(
    "path",
    ["nobody", "a%00b", "%F0%9F%A6%8A", "a" * 300, "..%2f..", "a b", "%ff", "'; DROP TABLE", "-"],
)
@pytest.mark.parametrize("rest", ["", "/events", "/logs", ":cancel", ":execute"])
async def test_an_odd_id_is_refused(served: Served, path: str, rest: str) -> None:
    method = "POST" if rest.startswith(":") else "GET"
    answer = await served.one.shared("acme").request(method, f"/api/v1/tasks/{path}{rest}")

    assert answer.status_code in (400, 404)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query",
    [
        *("nothing=1", "page_size=0", "page_size=x", "page_token=x", "status=odd", "order_by=odd"),
        *("since=2020", "status=pending&status=failed", "conversation_id=%00", "type=%ff"),
    ],
)
async def test_an_odd_query_is_refused(served: Served, query: str) -> None:
    answer = await served.one.shared("acme").get(f"/api/v1/tasks?{query}")

    assert answer.status_code == 400
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        pytest.param(a_create(type="nothing"), "TASK_TYPE_UNKNOWN", "type", id="type"),
        pytest.param(a_create(input="{"), "JSON_INVALID", "input", id="input"),
        pytest.param(a_create(metadata="[]"), "JSON_INVALID", "metadata", id="metadata"),
        pytest.param(a_create(priority=11), "FIELD_INVALID", "priority", id="priority"),
        pytest.param(a_create(timeout_ms=0), "FIELD_INVALID", "timeout_ms", id="timeout"),
        pytest.param(a_create(user_id="a\0"), "TEXT_NOT_STORABLE", "user_id", id="NUL"),
    ],
)
async def test_a_bad_request_is_refused_with_a_reason_and_its_field(
    served: Served, request_: pb.CreateTaskRequest, reason: str, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.one.stub.CreateTask(request_, metadata=ACME)

    told = refusal_of(refused.value)
    assert (told.status, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert told.field == field


@pytest.mark.parametrize(
    "method",
    ["orchestrator.v1.Orchestrator/GetTask", "orchestrator.v1.DeadLetters/GetDeadLetter"],
)
async def test_bytes_that_are_not_a_message_are_refused(served: Served, method: str) -> None:
    call: Any = served.one.channel.unary_unary(f"/{method}")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(b"\xff\xff", metadata=ACME)

    told = refusal_of(refused.value)
    assert (told.status, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")


async def test_a_stream_for_bytes_that_are_not_a_message_is_refused(served: Served) -> None:
    watch: Any = served.one.channel.unary_stream("/orchestrator.v1.Orchestrator/WatchTask")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await watch(b"\xff\xff", metadata=ACME).read()

    told = refusal_of(refused.value)
    assert (told.status, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")


async def test_a_path_that_is_not_there_is_a_problem_document(served: Served) -> None:
    missing = await served.one.shared("acme").get("/api/v2/tasks")
    method = await served.one.shared("acme").delete("/api/v1/tasks")

    assert (missing.status_code, missing.json()["code"]) == (404, "PATH_UNKNOWN")
    assert (method.status_code, method.json()["code"]) == (405, "METHOD_NOT_ALLOWED")
