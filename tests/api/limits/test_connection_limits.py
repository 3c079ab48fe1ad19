"""One connection takes a bounded part of the service: slow, endless and half-open ones are cut."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
import websockets
from prometheus_client import REGISTRY

from orchestrator.api.server import Serving, open_service
from orchestrator.settings import load_settings
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorStub
from tests.api.calling import ACME, KEYS, Served

pytestmark = pytest.mark.asyncio(loop_scope="session")
WAIT_S = 30.0
LIMITS = {
    "ORCH_API_LIMITS_CONNECTIONS_MAX": "50",
    "ORCH_API_LIMITS_HEADER_MAX_BYTES": "8192",
    "ORCH_API_LIMITS_HEADER_TIMEOUT_S": "1",
    "ORCH_API_LIMITS_WEBSOCKET_FRAME_MAX_BYTES": "1000",
    "ORCH_API_LIMITS_GRPC_CALLS_MAX": "20",
    "ORCH_API_BODY_TIMEOUT_S": "1",
}
AUTHORIZATION = {"authorization": f"Bearer {KEYS['acme']}"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def limited(served: Served) -> AsyncIterator[Serving]:
    environment = {
        **served.running.system.environment,
        "ORCH_API_GRPC_PORT": "0",
        "ORCH_API_HTTP_PORT": "0",
        **LIMITS,
    }
    async with open_service(load_settings(environment)) as serving:
        yield serving


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(serving: Serving) -> AsyncIterator[Connection]:
    host, port = serving.http_address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer_of(reader: asyncio.StreamReader) -> str:
    """All that is answered, until the connection is closed."""
    try:
        async with asyncio.timeout(WAIT_S):
            return (await reader.read()).decode()
    except ConnectionResetError:
        return ""


def limited_by(limit: str) -> float:
    return REGISTRY.get_sample_value("orchestrator_api_limited_total", {"limit": limit}) or 0.0


async def serves(serving: Serving) -> bool:
    async with httpx.AsyncClient(base_url=f"http://{serving.http_address}") as client:
        answer = await client.get("/api/v1/tasks", headers=AUTHORIZATION, timeout=WAIT_S)
        return answer.status_code == 200


async def test_headers_that_do_not_end_are_answered_with_408(limited: Serving) -> None:
    before = limited_by("header_timeout_s")
    async with connected(limited) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n")
        answer = await answer_of(reader)
    assert answer.startswith("HTTP/1.1 408 Request Timeout")
    assert '"code":"HEADERS_LATE"' in answer
    assert "connection: close" in answer
    assert limited_by("header_timeout_s") == before + 1


async def test_headers_that_trickle_are_answered_with_408(limited: Serving) -> None:
    begun = time.monotonic()
    async with connected(limited) as (reader, writer):
        reading = asyncio.create_task(answer_of(reader))
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        with suppress(ConnectionError):
            while not reading.done():
                writer.write(b"x-a: b\r\n")
                await writer.drain()
                await asyncio.wait([reading], timeout=0.1)
        assert (await reading).startswith("HTTP/1.1 408")
    assert time.monotonic() - begun < WAIT_S


async def test_a_connection_that_sends_nothing_is_closed(limited: Serving) -> None:
    async with connected(limited) as (reader, _writer):
        assert await answer_of(reader) == ""


async def test_a_second_request_has_the_same_time(limited: Serving) -> None:
    async with connected(limited) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        async with asyncio.timeout(WAIT_S):
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        assert (await answer_of(reader)).startswith("HTTP/1.1 408")


@pytest.mark.parametrize(
    "part", [b"x-a: " + b"a" * 4000 + b"\r\n", b"a" * 8000], ids=["many headers", "one header"]
)
async def test_96_mb_of_headers_are_cut_off(limited: Serving, part: bytes) -> None:
    sent = 0
    async with connected(limited) as (reader, writer):
        reading = asyncio.create_task(answer_of(reader))
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-b: ")
        with suppress(ConnectionError):
            while sent < 96_000_000 and not reading.done():
                writer.write(part)
                sent += len(part)
                await writer.drain()
        answer = await reading
    assert answer == "" or answer.startswith("HTTP/1.1 431")
    # What the sockets hold on both sides, and no more.
    assert sent < 16_000_000
    assert await serves(limited)


async def test_headers_that_are_too_large_are_answered_with_431(limited: Serving) -> None:
    async with connected(limited) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: " + b"a" * 9000)
        writer.write(b"\r\n\r\n")
        answer = await answer_of(reader)
    assert answer.startswith("HTTP/1.1 431")
    assert '"code":"HEADERS_TOO_LARGE"' in answer


async def test_headers_below_the_limit_are_served(limited: Serving) -> None:
    async with httpx.AsyncClient(base_url=f"http://{limited.http_address}") as client:
        answer = await client.get("/healthz", headers={"x-a": "a" * 7000})
    assert answer.status_code == 200


async def test_a_body_that_does_not_end_is_answered_with_408(limited: Serving) -> None:
    before = limited_by("body_timeout_s")
    head = (
        "POST /api/v1/tasks HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: {AUTHORIZATION['authorization']}\r\ncontent-length: 100\r\n\r\n"
    )
    async with connected(limited) as (reader, writer):
        writer.write(head.encode() + b'{"type":')
        answer = await answer_of(reader)
    assert answer.startswith("HTTP/1.1 408")
    assert '"code":"BODY_LATE"' in answer
    assert limited_by("body_timeout_s") == before + 1


HEALTH = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n"
CALL = b"GET /api/v1/tasks HTTP/1.1\r\nhost: 127.0.0.1\r\n"


@pytest.mark.parametrize("head", [HEALTH, CALL], ids=["health", "without a key"])
async def test_a_body_that_goes_on_after_the_answer_does_not_hold_the_connection(
    limited: Serving, head: bytes
) -> None:
    async with connected(limited) as (reader, writer):
        writer.write(head + b"content-length: 900000\r\n\r\n")
        async with asyncio.timeout(WAIT_S):
            assert await reader.readuntil(b"}")
        writer.write(b"x")
        assert await answer_of(reader) == ""


async def test_a_body_that_ends_late_does_not_hold_the_connection(limited: Serving) -> None:
    async with connected(limited) as (reader, writer):
        writer.write(HEALTH + b"content-length: 1\r\n\r\n")
        async with asyncio.timeout(WAIT_S):
            assert await reader.readuntil(b"}")
        writer.write(b"x")
        assert await answer_of(reader) == ""


async def test_a_request_after_a_body_that_ends_late_is_served(limited: Serving) -> None:
    async with connected(limited) as (reader, writer):
        writer.write(HEALTH + b"content-length: 1\r\n\r\n")
        for rest in (b"x" + HEALTH + b"\r\n", b""):
            async with asyncio.timeout(WAIT_S):
                assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
            writer.write(rest)


async def test_a_large_body_after_the_answer_closes_the_connection(limited: Serving) -> None:
    sent = 0
    async with connected(limited) as (reader, writer):
        writer.write(HEALTH + b"content-length: 900000000\r\n\r\n")
        async with asyncio.timeout(WAIT_S):
            assert await reader.readuntil(b"}")
        with suppress(ConnectionError):
            while sent < 96_000_000:
                writer.write(b"x" * 64_000)
                sent += 64_000
                await writer.drain()
    assert sent < 40_000_000


@asynccontextmanager
async def streaming(serving: Serving) -> AsyncIterator[Connection]:
    """A connection on which the events of a held task have begun to arrive."""
    async with httpx.AsyncClient(base_url=f"http://{serving.http_address}") as client:
        held = {"type": "rag", "input": {"query": "What is a lane?"}, "hold": True}
        created = await client.post("/api/v1/tasks", json=held, headers=AUTHORIZATION)
        task_id = created.json()["task"]["id"]
        head = (
            f"GET /api/v1/tasks/{task_id}/events HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"authorization: {AUTHORIZATION['authorization']}\r\naccept: text/event-stream\r\n\r\n"
        )
        async with connected(serving) as (reader, writer):
            writer.write(head.encode())
            async with asyncio.timeout(WAIT_S):
                assert await reader.readuntil(b"event: ")
            yield reader, writer
        await client.post(f"/api/v1/tasks/{task_id}:cancel", headers=AUTHORIZATION)


async def test_a_next_request_that_has_begun_leaves_a_running_stream_alone(
    limited: Serving,
) -> None:
    before = limited_by("header_timeout_s")
    async with streaming(limited) as (reader, writer):
        writer.write(b"G")
        # Closed after the same time, counted from later: so that time is over on the stream.
        async with connected(limited) as (other, _writer):
            assert await answer_of(other) == ""
        assert limited_by("header_timeout_s") == before + 1
        writer.write(HEALTH[1:] + b"\r\n")
        assert not reader.at_eof()


@pytest.mark.parametrize(
    "next_request",
    [
        HEALTH + b"x-a: " + b"a" * 9000,
        HEALTH + b"x-a: " + b"a" * 9000 + b"\r\n\r\n",
        b"\0\0\0\r\n\r\n",
        b"GET /api/v1/ws HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\n"
        b"upgrade: websocket\r\nsec-websocket-version: 13\r\n"
        b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    ],
    ids=["endless headers", "large headers", "not HTTP", "a WebSocket"],
)
async def test_a_next_request_that_is_refused_is_not_answered_within_a_running_stream(
    limited: Serving, next_request: bytes
) -> None:
    async with streaming(limited) as (reader, writer):
        writer.write(next_request)
        assert "HTTP/1.1" not in await answer_of(reader)


@pytest.mark.parametrize("zeros", ["", "0" * 100])
@pytest.mark.parametrize("size", ["8388609", "999999999999999999", "9999999999999999999"])
async def test_a_body_that_is_announced_as_too_large_is_refused_and_not_counted(
    limited: Serving, zeros: str, size: str
) -> None:
    call = CALL + f"authorization: {AUTHORIZATION['authorization']}\r\n".encode()
    async with connected(limited) as (reader, writer):
        writer.write(call + f"content-length: {zeros}{size}\r\n\r\n".encode())
        answer = await answer_of(reader)
    assert answer.startswith("HTTP/1.1 413")
    assert '"code":"BODY_TOO_LARGE"' in answer
    assert await serves(limited)


async def test_2000_half_open_connections_keep_nobody_from_being_served(limited: Serving) -> None:
    host, port = limited.http_address.rsplit(":", 1)
    refused = limited_by("connections_max")
    opened: list[Connection] = []
    try:
        for _ in range(40):
            opened += await asyncio.gather(
                *(asyncio.open_connection(host, int(port)) for _ in range(50))
            )
            for _, writer in opened[-50:]:
                writer.write(b"GET /healthz HTTP/1.1\r\n")
        # Those that were taken are cut after the time for headers, and others come in.
        async with asyncio.timeout(WAIT_S):
            while not await served_soon(limited):  # noqa: ASYNC110  # another connection's turn
                await asyncio.sleep(0.05)
    finally:
        for _, writer in opened:
            writer.close()
    assert limited_by("connections_max") > refused


async def served_soon(serving: Serving) -> bool:
    try:
        return await serves(serving)
    except httpx.TransportError:
        return False


async def test_a_message_of_a_websocket_that_is_too_large_closes_it(limited: Serving) -> None:
    address = f"ws://{limited.http_address}/api/v1/ws"
    async with websockets.connect(address, additional_headers=AUTHORIZATION) as socket:
        await socket.send("x" * 2000)
        with pytest.raises(websockets.ConnectionClosed) as caught:
            async with asyncio.timeout(WAIT_S):
                await socket.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


async def test_grpc_calls_beyond_the_bound_are_refused(limited: Serving) -> None:
    async with grpc.aio.insecure_channel(limited.grpc_address) as channel:
        stub: Any = OrchestratorStub(channel)
        created = await stub.CreateTask(
            pb.CreateTaskRequest(type="rag", input='{"query": "a lane"}', hold=True), metadata=ACME
        )
        request = pb.WatchTaskRequest(task_id=created.task.id)
        watching = [stub.WatchTask(request, metadata=ACME) for _ in range(20)]
        for call in watching:
            await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListTasks(pb.ListTasksRequest(), metadata=ACME)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in watching:
            call.cancel()
        async with asyncio.timeout(WAIT_S):
            while not await lists(stub):  # noqa: ASYNC110  # the server's turn
                await asyncio.sleep(0.05)


async def lists(stub: Any) -> bool:
    try:
        await stub.ListTasks(pb.ListTasksRequest(), metadata=ACME)
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_metadata_that_is_too_large_is_refused(limited: Serving) -> None:
    async with grpc.aio.insecure_channel(limited.grpc_address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await OrchestratorStub(channel).ListTasks(
                pb.ListTasksRequest(), metadata=(*ACME, ("x-a", "a" * 20_000)), timeout=WAIT_S
            )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
