"""A service without keys and one with tokens, as they run: what passes, and what is refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
import websockets

from orchestrator.api.server import Serving, open_service
from orchestrator.settings import load_settings
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1 import orchestrator_pb2_grpc as pb_grpc
from tests.api.access.issuer import AUDIENCE, Issuer
from tests.api.calling import WAIT_S, Served, a_body, a_create, refusal_of
from tests.api.conftest import BOUNDS

pytestmark = pytest.mark.asyncio(loop_scope="session")

FOREIGN = {"Origin": "https://evil.example"}


def environment(served: Served, **changes: str) -> dict[str, str]:
    given = {**dict(served.running.system.environment), **BOUNDS, **changes}
    for name in ("ORCH_API_KEYS", "ORCH_API_KEYS_FILE"):
        given.pop(name, None)
    return given | {"ORCH_API_GRPC_PORT": "0", "ORCH_API_HTTP_PORT": "0"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def keyless(served: Served) -> AsyncIterator[Serving]:
    given = environment(served, ORCH_API_OPEN_TENANT="keyless")
    async with open_service(load_settings(given)) as serving:
        yield serving


async def raw(serving: Serving, request: str) -> tuple[int, dict[str, Any]]:
    """Status and body of a request that no library would send."""
    host, port = serving.http_address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    async with asyncio.timeout(WAIT_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = next(
            int(v)
            for n, _, v in (x.partition(": ") for x in head.split("\r\n"))
            if n.lower() == "content-length"
        )
        body = json.loads(await reader.readexactly(size))
    writer.close()
    return int(head.split()[1]), body


async def test_a_rebound_name_lists_no_tasks(keyless: Serving) -> None:
    path = "/api/v1/tasks"
    for head in (
        f"GET {path} HTTP/1.1\nHost: evil.example",
        f"GET {path} HTTP/1.1\nHost: localhost\nHost: evil.example",
        f"GET {path} HTTP/1.0",
    ):
        status, body = await raw(keyless, head)
        assert (status, body["code"]) == (403, "HOST_REFUSED")

    status, body = await raw(keyless, f"GET {path} HTTP/1.1\nHost: localhost")
    assert (status, "tasks" in body) == (200, True)


async def test_a_foreign_page_neither_releases_nor_creates(keyless: Serving) -> None:
    async with httpx.AsyncClient(base_url=f"http://{keyless.http_address}") as http:
        held = await http.post("/api/v1/tasks", json=a_body(hold=True))
        task_path = f"/api/v1/tasks/{held.json()['task']['id']}"
        refused = [
            await http.post("/api/v1/tasks:executePending", headers=FOREIGN),
            await http.post(f"{task_path}:execute", headers=FOREIGN),
            await http.post(f"{task_path}:cancel", headers={"Sec-Fetch-Site": "cross-site"}),
            await http.post("/api/v1/tasks", json=a_body(), headers=FOREIGN),
        ]
        after = await http.get(task_path)
        own = await http.post(
            f"{task_path}:cancel", headers={"Origin": f"http://{keyless.http_address}"}
        )

    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == (
        [(403, "ORIGIN_REFUSED")] * 4
    )
    assert after.json()["status"] == "pending"
    assert after.headers["cache-control"] == "no-store"
    assert own.json()["status"] == "cancelled"


async def test_a_foreign_page_opens_no_websocket_of_a_running_service(
    served: Served, keyless: Serving
) -> None:
    url = f"ws://{keyless.http_address}/api/v1/ws"
    keyed = f"{served.one.url.replace('http', 'ws')}/api/v1/ws"
    codes = []
    for address, headers in (
        (url, FOREIGN),
        (url, {"Host": "evil.example"}),
        (keyed, {**FOREIGN, "Authorization": "Bearer orch_acme"}),
    ):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(address, additional_headers=headers)
        assert refused.value.response.status_code == 403
        codes.append(json.loads(refused.value.response.body or b"")["code"])
    async with websockets.connect(url, origin=websockets.Origin(f"http://{keyless.http_address}")):
        pass

    assert codes == ["ORIGIN_REFUSED", "HOST_REFUSED", "ORIGIN_REFUSED"]


async def test_tokens_and_keys_are_taken_over_both_protocols(served: Served) -> None:
    issuer = Issuer()
    async with issuer.running():
        given = environment(
            served,
            ORCH_API_OIDC_ISSUER=issuer.url,
            ORCH_API_OIDC_AUDIENCE=AUDIENCE,
            ORCH_API_OIDC_LEEWAY_S="0.5",
        )
        async with open_service(load_settings(given)) as serving:
            await calls_by_token(issuer, serving)


async def calls_by_token(issuer: Issuer, serving: Serving) -> None:
    headers = {"Authorization": f"Bearer {issuer.token()}"}
    async with httpx.AsyncClient(base_url=f"http://{serving.http_address}") as http:
        made = await http.post("/api/v1/tasks", json=a_body(hold=True), headers=headers)
        nobody = await http.get("/api/v1/tasks", headers={"Host": "any.example"})
        reader = {"Authorization": f"Bearer {issuer.token(scope='read')}"}
        denied = await http.post("/api/v1/tasks", json=a_body(), headers=reader)
    async with grpc.aio.insecure_channel(serving.grpc_address) as channel:
        stub: Any = pb_grpc.OrchestratorStub(channel)
        short = (("authorization", f"Bearer {issuer.token('ec-1', ends_in_s=2)}"),)
        request = pb.WatchTaskRequest(task_id=made.json()["task"]["id"])
        stream = stub.WatchTask(request, metadata=short, timeout=10)
        first = await anext(aiter(stream))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await read_to_its_end(stream)
        forged = (("authorization", f"Bearer {issuer.token(aud='payroll')}"),)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.CreateTask(a_create(), metadata=forged)

    assert made.json()["task"]["tenant_id"] == "acme"
    assert (nobody.status_code, nobody.json()["code"]) == (401, "UNAUTHENTICATED")
    assert (denied.status_code, denied.json()["code"]) == (403, "SCOPE_MISSING")
    assert first.event.sequence == 1
    assert refusal_of(ended.value).reason == "KEY_EXPIRED"
    assert refusal_of(refused.value).reason == "UNAUTHENTICATED"


async def read_to_its_end(stream: Any) -> None:
    async for _ in stream:
        pass
