"""Messages on an open WebSocket are calls: counted for their key, and refused with its right."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest
import pytest_asyncio
import websockets

from orchestrator.api.access.key_file import KeyLine
from orchestrator.api.access.key_store import add_key, revoke_key
from orchestrator.api.access.keys import key_hash, new_key
from orchestrator.api.access.rights import Right
from orchestrator.api.server import Serving, open_service
from orchestrator.settings import load_settings
from tests.api.calling import KEYS, WAIT_S, Served, a_create, as_tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def limited(served: Served) -> AsyncIterator[Serving]:
    environment = {
        **served.running.system.environment,
        "ORCH_API_GRPC_PORT": "0",
        "ORCH_API_HTTP_PORT": "0",
        "ORCH_API_LIMITS_REQUESTS_PER_S": "1",
        "ORCH_API_LIMITS_REQUESTS_BURST": "5",
    }
    async with open_service(load_settings(environment)) as serving:
        yield serving


@pytest.mark.parametrize(
    ("tenant", "message"),
    [
        ("acme", json.dumps({"action": "cancel", "task_id": "task_none"})),
        ("slow", json.dumps({"action": "unsubscribe", "task_id": "task_none"})),
        ("crowd", json.dumps({"action": "subscribe", "task_id": "task_none"})),
        ("fuzzed", "not JSON"),
    ],
)
async def test_messages_beyond_the_rate_of_a_key_are_refused(
    limited: Serving, tenant: str, message: str
) -> None:
    url = f"ws://{limited.http_address}/api/v1/ws"
    refusal = None
    async with connected(url, KEYS[tenant]) as socket, asyncio.timeout(WAIT_S):
        for _ in range(10):
            await socket.send(message)
        while refusal is None or refusal["problem"]["code"] != "RATE_LIMITED":
            refusal = json.loads(await socket.recv())
            assert refusal["type"] == "error"
    assert refusal["task_id"] == (None if message == "not JSON" else "task_none")
    assert refusal["problem"]["retry_after_s"] > 0


async def test_a_handshake_beyond_the_rate_of_a_key_says_so(
    limited: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"ws://{limited.http_address}/api/v1/ws"
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*(opened_and_closed(url) for _ in range(20)))
    assert "handshake" not in caplog.text
    assert refused.value.response.status_code == 429
    assert "retry-after" in refused.value.response.headers
    assert json.loads(refused.value.response.body or b"")["code"] == "RATE_LIMITED"


async def opened_and_closed(url: str) -> None:
    async with connected(url, KEYS["other"]):
        pass


async def test_a_revoked_key_cancels_nothing_more(served: Served) -> None:
    path, key = served.running.logs / "keys.jsonl", new_key(os.urandom(32))
    key_id = key_hash(key)[:12]
    line = KeyLine(
        id=key_id, tenant="hanging", scopes=[Right.READ, Right.WRITE], hash=key_hash(key)
    )
    add_key(path, line)
    held = await served.one.stub.CreateTask(a_create(hold=True), metadata=as_tenant("hanging"))
    told = []
    async with connected(served.one.url.replace("http", "ws") + "/api/v1/ws", key) as socket:
        await asyncio.to_thread(revoke_key, path, key_id, datetime.now(UTC))
        await socket.send(json.dumps({"action": "cancel", "task_id": held.task.id}))
        async with asyncio.timeout(WAIT_S):
            with suppress(websockets.ConnectionClosed):
                while True:
                    told.append(json.loads(await socket.recv()))
    assert {message["problem"]["code"] for message in told} == {"KEY_REVOKED"}


def connected(url: str, key: str) -> websockets.connect:
    return websockets.connect(url, additional_headers={"Authorization": f"Bearer {key}"})
