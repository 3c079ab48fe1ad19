"""The client of ``clients/python`` when replicas stop, refuse, and cut streams."""

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from ai_orchestrator import (
    AccessError,
    AsyncClient,
    Chunk,
    Client,
    ConflictError,
    Event,
    FaultError,
    LimitedError,
    NotFoundError,
    OrchestratorError,
    RequestError,
    Task,
    TaskFailedError,
    UnavailableError,
)
from ai_orchestrator.client.attempts import Attempts, Replicas
from tests.clients.python.calling import a_client, done, over_both

TASK = {"id": "t1", "type": "rag", "status": "pending"}
TWO = ("http://a", "http://b")


def a_problem(status: int, code: str, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"status": status, "code": code, "detail": "why", **more})


def frames(*items: dict[str, Any]) -> bytes:
    """A stream of these items."""
    return b": open\n\n" + b"".join(
        b"event: %s\ndata: %s\n\n" % (item["type"].encode(), json.dumps(item).encode())
        for item in items
    )


def an_event(sequence: int, status: str = "running") -> dict[str, Any]:
    return {
        "type": "event",
        "task_id": "t1",
        "sequence": sequence,
        "kind": status,
        "status": status,
    }


@over_both
async def test_a_create_goes_on_at_another_replica_with_the_same_key(kind: Any) -> None:
    seen: list[tuple[str, str]] = []

    def service(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers["idempotency-key"]))
        if len(seen) == 1:
            raise httpx.ReadError("cut")
        if len(seen) == 2:
            return a_problem(503, "REPLICA_STOPPING")
        return httpx.Response(201, json={"task": TASK, "replayed": False})

    client = a_client(kind, service, TWO)
    task = await done(client, "create", "rag", {"query": "why"})

    assert task.id == "t1"
    assert [host for host, _ in seen] == ["a", "b", "a"]
    assert len({key for _, key in seen}) == 1


@over_both
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RequestError),
        (401, AccessError),
        (403, AccessError),
        (404, NotFoundError),
        (409, ConflictError),
        (500, FaultError),
    ],
)
async def test_a_refusal_is_typed_and_not_tried_again(
    kind: Any, status: int, error: type[OrchestratorError]
) -> None:
    calls = []

    def service(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return a_problem(status, "SOME_CODE", errors=[{"name": "input"}], task_id="t1")

    with pytest.raises(error) as refused:
        await done(a_client(kind, service), "create", "rag", key="k-1")

    found = refused.value
    assert (found.code, found.status, found.field, found.task_id, found.key) == (
        *("SOME_CODE", status, "input", "t1"),
        "k-1",
    )
    assert len(calls) == 1


@over_both
async def test_a_replay_that_may_have_happened_is_not_made_again(kind: Any) -> None:
    calls = []

    def service(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        raise httpx.ReadTimeout("late")

    with pytest.raises(UnavailableError):
        await done(
            a_client(kind, service, TWO),
            *("replay_dead_letters", ["l1"]),
            reason="fixed",
            dry_run=False,
        )

    assert len(calls) == 1


@over_both
@pytest.mark.parametrize(
    "content", [b"<html>", b"[" * 100_000, b'{"id": 1}'], ids=["HTML", "deep", "other"]
)
async def test_bytes_that_are_not_an_answer_are_a_fault(kind: Any, content: bytes) -> None:
    client = a_client(kind, lambda _: httpx.Response(200, content=content))

    with pytest.raises(FaultError, match="ANSWER_INVALID"):
        await done(client, "get", "t1")


@over_both
async def test_a_stream_that_is_cut_resumes_after_the_last_event_at_another_replica(
    kind: Any,
) -> None:
    asked: list[tuple[str, str]] = []
    chunk = {"type": "chunk", "task_id": "t1", "data": "one\u2028line"}
    parts = [
        frames(an_event(1), chunk) + b"event: event\ndata: {cut",
        frames(an_event(1), an_event(2))
        + frames({"type": "error", "status": 503, "code": "REPLICA_STOPPING"}),
        frames(an_event(3, "completed")),
    ]

    def service(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.host, request.headers["last-event-id"]))
        return httpx.Response(200, content=parts[len(asked) - 1])

    items = await done(a_client(kind, service, TWO), "stream", "t1")

    assert asked == [("a", "0"), ("b", "1"), ("a", "2")]
    assert [item.sequence for item in items if isinstance(item, Event)] == [1, 2, 3]
    assert [item.data for item in items if isinstance(item, Chunk)] == ["one\u2028line"]


@over_both
async def test_a_stream_of_a_task_that_ended_before_is_empty(kind: Any) -> None:
    items = await done(a_client(kind, lambda _: httpx.Response(204)), "stream", "t1", after=9)

    assert items == []


@over_both
async def test_a_wait_that_is_over_before_the_task_says_so(kind: Any) -> None:
    def service(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=frames(an_event(1)))

    with pytest.raises(TimeoutError):
        await done(a_client(kind, service), "wait", "t1", timeout_s=0.3)


@over_both
async def test_a_wait_ends_with_the_task_as_its_last_event_left_it(kind: Any) -> None:
    def service(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(200, content=frames(an_event(7, "completed")))
        assert request.url.params["min_sequence"] == "7"
        return httpx.Response(200, json={**TASK, "status": "completed", "output": {"n": 1}})

    task = await done(a_client(kind, service), "wait", "t1")

    assert task.result(dict[str, int]) == {"n": 1}


@over_both
async def test_a_list_goes_on_to_its_last_page(kind: Any) -> None:
    def service(request: httpx.Request) -> httpx.Response:
        token = request.url.params.get("page_token")
        assert request.url.params["status"] == "failed"
        following = None if token == "p2" else "p2"
        return httpx.Response(200, json={"tasks": [TASK], "next_page_token": following})

    tasks = await done(a_client(kind, service), "list_tasks", status="failed")

    assert [task.id for task in tasks] == ["t1", "t1"]


async def test_an_id_stays_one_part_of_the_path() -> None:
    def service(request: httpx.Request) -> httpx.Response:
        assert request.url.raw_path == b"/api/v1/tasks/..%2Fusage%3F"
        return a_problem(404, "TASK_NOT_FOUND")

    with pytest.raises(NotFoundError):
        await done(a_client(Client, service), "get", "../usage?")


def test_the_result_of_a_failed_task_raises_its_code() -> None:
    failed = Task(id="t1", type="rag", status="cancelled")

    with pytest.raises(TaskFailedError) as raised:
        failed.result(dict)

    assert (raised.value.code, raised.value.task_id) == ("CANCELLED", "t1")


def pauses(errors: Sequence[OrchestratorError], urls: Sequence[str]) -> list[float]:
    replicas = Replicas(urls)
    attempts = Attempts(replicas, repeatable=True, until_s=100.0)
    return [attempts.pause_after(error, replicas.url, now_s=0.0, jitter=1.0) for error in errors]


def test_another_replica_is_asked_at_once_and_then_pauses_grow_to_a_bound() -> None:
    away = UnavailableError("API_UNAVAILABLE", "gone")

    assert pauses([away] * 9, TWO) == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]


def test_a_pause_is_never_shorter_than_the_service_asks_for_and_ends_with_the_time() -> None:
    limited = LimitedError("RATE_LIMITED", "slow", retry_after_s=3.0)

    assert pauses([limited], TWO) == [3.0]
    with pytest.raises(LimitedError):
        pauses([LimitedError("TASKS_LIMITED", "full", retry_after_s=101.0)], TWO)
    with pytest.raises(LimitedError):
        pauses([LimitedError("TASKS_LIMITED", "full")], TWO)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("wrong", ["127.0.0.1:8000", ["http://a:1"], ""])
def test_what_is_no_address_is_refused_at_once(kind: Any, wrong: Any) -> None:
    with pytest.raises(ValueError, match="is no address: give one or several"):
        kind(wrong)


def test_a_stream_that_breaks_again_and_again_is_opened_after_a_pause() -> None:
    attempts = Attempts(Replicas(TWO), repeatable=True, until_s=30.0)
    stops = UnavailableError("REPLICA_STOPPING", "it stops", retry_after_s=1.0)

    def pause_s(now_s: float) -> float:
        attempts.served(now_s + 30.0, now_s=now_s)
        return attempts.pause_after(stops, TWO[0], now_s=now_s, jitter=0.0)

    assert pause_s(10.0) == 0.0
    assert pause_s(10.5) >= 0.05
    assert pause_s(11.0) >= 0.05
    assert pause_s(20.0) == 0.0
