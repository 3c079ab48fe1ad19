"""An open stream ends soon after its caller's right, and says why."""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import websockets
from msgspec import UNSET

from orchestrator.api.access.key_file import KeyLine
from orchestrator.api.access.key_store import add_key, revoke_key
from orchestrator.api.access.keys import key_hash, new_key
from orchestrator.api.access.rights import Right
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from tests.api.calling import Served, a_create, as_tenant, refusal_of, sse

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENDS_S = 5.0
Watching = Callable[[Served, str, str, asyncio.Event], Coroutine[Any, Any, str]]


async def over_grpc(served: Served, key: str, task_id: str, opened: asyncio.Event) -> str:
    metadata = (("authorization", f"Bearer {key}"),)
    call = served.one.stub.WatchTask(pb.WatchTaskRequest(task_id=task_id), metadata=metadata)

    async def read() -> None:
        async for _ in call:
            opened.set()

    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await read()
    told = refusal_of(ended.value)
    assert told.status is grpc.StatusCode.UNAUTHENTICATED
    return told.reason


async def over_sse(served: Served, key: str, task_id: str, opened: asyncio.Event) -> str:
    headers = {"Authorization": f"Bearer {key}"}
    path = f"/api/v1/tasks/{task_id}/events"
    async with served.one.http(None).stream("GET", path, headers=headers) as response:
        async for _, name, data in sse(response):
            opened.set()
            if name == "error":
                return str(data["code"])
    raise AssertionError("it ended without a word")


async def over_a_websocket(served: Served, key: str, task_id: str, opened: asyncio.Event) -> str:
    url = f"{served.one.url.replace('http', 'ws')}/api/v1/ws"
    headers = {"Authorization": f"Bearer {key}"}
    said = ""
    async with websockets.connect(url, additional_headers=headers) as socket:
        await socket.send(json.dumps({"action": "subscribe", "task_id": task_id}))
        with contextlib.suppress(websockets.ConnectionClosedError):
            async for message in socket:
                told = json.loads(message)
                opened.set()
                if told["type"] == "error":
                    said = told["problem"]["code"]
    assert socket.close_code == 4401
    return said


async def by_waiting(served: Served, key: str, task_id: str, opened: asyncio.Event) -> str:
    opened.set()
    headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=600"}
    path = f"/api/v1/tasks/{task_id}:execute"
    answer = await served.one.http(None).post(path, headers=headers)
    assert answer.status_code == 401
    return str(answer.json()["code"])


async def by_waiting_over_grpc(
    served: Served, key: str, task_id: str, opened: asyncio.Event
) -> str:
    opened.set()
    metadata = (("authorization", f"Bearer {key}"),)
    request = pb.WaitTaskRequest(task_id=task_id)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await served.one.stub.WaitTask(request, metadata=metadata, timeout=600)
    return refusal_of(ended.value).reason


WAYS: dict[str, Watching] = {
    "grpc": over_grpc,
    "server-sent events": over_sse,
    "websocket": over_a_websocket,
    "a wait": by_waiting_over_grpc,
    "an execute": by_waiting,
}


def a_key(served: Served, expires_at: datetime | None = None) -> tuple[str, str, Path]:
    """A new key of a tenant whose tasks never end: its text, its id, and the file that it is in."""
    path, key = served.running.logs / "keys.jsonl", new_key(os.urandom(32))
    line = KeyLine(
        id=key_hash(key)[:12],
        tenant="hanging",
        scopes=[Right.READ, Right.WRITE],
        hash=key_hash(key),
        expires_at=UNSET if expires_at is None else expires_at,
    )
    add_key(path, line)
    return key, line.id, path


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream_ends_soon_after_its_key_is_revoked(served: Served, way: str) -> None:
    key, key_id, path = a_key(served)
    other = a_key(served)[0]
    held = await served.one.stub.CreateTask(a_create(hold=True), metadata=as_tenant("hanging"))
    opened, goes_on = asyncio.Event(), asyncio.Event()
    stream = asyncio.create_task(WAYS[way](served, key, held.task.id, opened))
    untouched = asyncio.create_task(WAYS[way](served, other, held.task.id, goes_on))
    async with asyncio.timeout(ENDS_S):
        await asyncio.gather(opened.wait(), goes_on.wait())
    await asyncio.to_thread(revoke_key, path, key_id, datetime.now(UTC))
    async with asyncio.timeout(ENDS_S):
        assert await stream == "KEY_REVOKED"

    assert not untouched.done()
    untouched.cancel()
    await asyncio.gather(untouched, return_exceptions=True)


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream_ends_soon_after_its_key_expires(served: Served, way: str) -> None:
    ends_at = datetime.now(UTC) + timedelta(seconds=2)
    key, _, _ = a_key(served, ends_at)
    held = await served.one.stub.CreateTask(a_create(hold=True), metadata=as_tenant("hanging"))
    async with asyncio.timeout(2 + ENDS_S):
        code = await WAYS[way](served, key, held.task.id, asyncio.Event())

    assert code == "KEY_EXPIRED"
    assert datetime.now(UTC) >= ends_at
