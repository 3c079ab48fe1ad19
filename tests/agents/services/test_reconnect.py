"""What the client does while a service is away, silent, or back again."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from agents.services.client import StepRequest
from agents.services.failure import ServiceError
from agents.services.grpc_client import GrpcStepClient
from schemas.gen.services.v1 import step_service_pb2 as pb
from schemas.gen.services.v1 import step_service_pb2_grpc as pb_grpc
from schemas.records import CommandId, Json, StepName, TaskId

Context = grpc.aio.ServicerContext[pb.RunRequest, pb.RunResponse]


class AnsweringService(pb_grpc.StepServiceServicer):
    async def Run(self, request: pb.RunRequest, context: Context) -> pb.RunResponse:  # noqa: N802
        return pb.RunResponse(output="{}")

    async def RunStream(  # noqa: N802
        self, request: pb.RunRequest, context: object
    ) -> AsyncIterator[pb.RunEvent]:
        yield pb.RunEvent(response=pb.RunResponse(output="{}"))


@contextlib.asynccontextmanager
async def a_server(*, port: int = 0) -> AsyncIterator[int]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    pb_grpc.add_StepServiceServicer_to_server(AnsweringService(), server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(grace=None)


@contextlib.asynccontextmanager
async def a_client(port: int) -> AsyncIterator[GrpcStepClient]:
    client = GrpcStepClient(f"127.0.0.1:{port}", service="retrieval", max_message_bytes=65536)
    try:
        yield client
    finally:
        await client.close()


def a_request(*, timeout_s: float = 5.0) -> StepRequest:
    return StepRequest(
        method="Retrieve",
        input=Json("{}"),
        task_id=TaskId("task_1"),
        run=1,
        step=StepName("retrieve"),
        attempt=1,
        tenant_id="acme",
        idempotency_key=CommandId("task_1/1/retrieve/1"),
        timeout_s=timeout_s,
    )


class DeafListener:
    """Takes connections like a service whose process has not come up: hangs up, or is silent."""

    def __init__(self, *, hangs_up: bool) -> None:
        self._hangs_up = hangs_up
        self._server: asyncio.Server | None = None
        self._more = asyncio.Condition()
        self.connections = 0

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def wait_for_connections(self, count: int) -> None:
        async with self._more:
            await self._more.wait_for(lambda: self.connections >= count)

    async def _on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async with self._more:
            self.connections += 1
            self._more.notify_all()
        if not self._hangs_up:
            with contextlib.suppress(ConnectionError):
                await reader.read()  # until the client gives up
        writer.close()


async def calls_until_it_answers(client: GrpcStepClient, *, within_s: float) -> float:
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while True:
            with contextlib.suppress(ServiceError):
                await client.call(a_request())
                return time.monotonic() - began


async def test_nobody_at_the_address_fails_at_once() -> None:
    async with a_server() as port:
        pass
    async with a_client(port) as client:
        began = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            await client.call(a_request(timeout_s=30.0))

    assert (caught.value.code, caught.value.retriable) == ("SERVICE_UNAVAILABLE", True)
    assert time.monotonic() - began < 2.0


async def test_a_service_that_comes_back_on_its_port_is_used_again() -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = contextlib.AsyncExitStack()
        port = await first.enter_async_context(a_server())
        client = await stack.enter_async_context(a_client(port))
        await client.call(a_request())
        await first.aclose()
        with pytest.raises(ServiceError) as away:
            await client.call(a_request())
        await stack.enter_async_context(a_server(port=port))
        took_s = await calls_until_it_answers(client, within_s=10.0)

    assert away.value.code == "SERVICE_UNAVAILABLE"
    assert took_s <= 2.0


async def test_after_a_long_absence_the_pause_before_connecting_is_still_short() -> None:
    async with contextlib.AsyncExitStack() as stack:
        listener = DeafListener(hangs_up=True)
        port = await listener.open()
        client = await stack.enter_async_context(a_client(port))
        with pytest.raises(ServiceError):
            await client.call(a_request())
        # By now gRPC's default pauses would add up to over 20 s, and the next one is longer.
        async with asyncio.timeout(15.0):
            await listener.wait_for_connections(7)
        await listener.close()
        await stack.enter_async_context(a_server(port=port))
        took_s = await calls_until_it_answers(client, within_s=10.0)

    assert took_s <= 2.0


async def test_a_host_that_takes_connections_and_says_nothing_is_left_soon() -> None:
    listener = DeafListener(hangs_up=False)
    port = await listener.open()
    async with a_client(port) as client:
        began = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            await client.call(a_request(timeout_s=30.0))
        waited_s = time.monotonic() - began
    await listener.close()

    assert caught.value.retriable
    assert waited_s < 5.0


async def test_a_proxy_variable_does_not_divert_the_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listener = DeafListener(hangs_up=True)
    proxy = await listener.open()
    for variable in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy}")
    for variable in ("no_grpc_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    async with a_server() as port, a_client(port) as client:
        await client.call(a_request())
    await listener.close()

    assert listener.connections == 0
