"""The clock of an attempt counts the time of the service, not that of a busy process.

The services run in a thread with an event loop of its own; the event loop of the client is
blocked on purpose.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import grpc
import pytest
import uvloop

from agents.services.attempt_clock import AttemptClock
from agents.services.client import StepClient, StepRequest, StepResponse
from agents.services.failure import ServiceError
from agents.services.grpc_client import GrpcStepClient
from agents.services.http_client import HttpStepClient
from agents.services.inline_client import InlineStepClient
from agents.steps.call import StepCall
from schemas.gen.services.v1 import step_service_pb2 as pb
from schemas.gen.services.v1 import step_service_pb2_grpc as pb_grpc
from schemas.records import Json
from tests.agents.services.test_grpc_client import SOON_S, a_request

pytestmark = pytest.mark.slow

TIMEOUT_S = 0.4
BUSY_S = 1.0
LARGE = 300_000
MAX_BYTES = 1 << 20


class Service:
    """Answers after a while, and counts who called."""

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self.calls = 0

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        self.calls += 1
        await asyncio.sleep(self.after_s)
        body = b'{"output": "%s"}' % (b"x" * LARGE)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()


class GrpcService(pb_grpc.StepServiceServicer):
    def __init__(self, service: Service) -> None:
        self._service = service

    async def Run(self, request: pb.RunRequest, context: Any) -> pb.RunResponse:  # noqa: N802
        self._service.calls += 1
        await asyncio.sleep(self._service.after_s)
        return pb.RunResponse(output='"' + "x" * LARGE + '"')

    async def RunStream(  # noqa: N802
        self, request: pb.RunRequest, context: Any
    ) -> AsyncIterator[pb.RunEvent]:
        self._service.calls += 1
        for _ in range(3):
            await asyncio.sleep(self._service.after_s / 3)
            yield pb.RunEvent(chunk="x")
        yield pb.RunEvent(response=pb.RunResponse(output='"' + "x" * LARGE + '"'))


@contextlib.contextmanager
def in_a_thread(start: Callable[[asyncio.Event], Coroutine[Any, Any, Any]]) -> Iterator[int]:
    """Run a server in a thread; ``start`` gives its port and how it stops."""
    ready, loop, port = threading.Event(), asyncio.new_event_loop(), list[int]()
    stopping = asyncio.Event()

    async def run() -> None:
        found, stop = await start(stopping)
        port.append(found)
        ready.set()
        await stopping.wait()
        await stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(SOON_S)
    try:
        yield port[0]
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()


@contextlib.contextmanager
def served(service: Service, transport: str) -> Iterator[StepClient]:
    Stop = Callable[[], Awaitable[None]]  # noqa: N806

    async def http(stopping: asyncio.Event) -> tuple[int, Stop]:
        server = await asyncio.start_server(service.http, "127.0.0.1", 0)

        async def stop() -> None:
            server.close()

        return server.sockets[0].getsockname()[1], stop

    async def by_grpc(stopping: asyncio.Event) -> tuple[int, Stop]:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_StepServiceServicer_to_server(GrpcService(service), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()

        async def stop() -> None:
            await server.stop(None)

        return port, stop

    with in_a_thread(http if transport == "http" else by_grpc) as port:
        if transport == "http":
            url = f"http://127.0.0.1:{port}/"
            yield HttpStepClient(url, service="s", max_message_bytes=MAX_BYTES)
        else:
            yield GrpcStepClient(f"127.0.0.1:{port}", service="s", max_message_bytes=MAX_BYTES)


def block(seconds: float = BUSY_S) -> None:
    """What a process does that has too much to do."""
    time.sleep(seconds)


async def begun(
    client: StepClient, turns: int, *, stream: bool = False, timeout_s: float = TIMEOUT_S
) -> asyncio.Task[StepResponse]:
    """A call that had so many turns of the event loop."""
    request = a_request(timeout_s=timeout_s)
    on_chunk = (lambda _: None) if stream else None
    call = asyncio.create_task(client.call(request, on_chunk=on_chunk))
    for _ in range(turns):
        await asyncio.sleep(0)
    return call


@pytest.mark.parametrize("transport", ["http", "grpc", "grpc stream"])
async def test_an_answer_that_came_while_the_process_was_busy_counts(transport: str) -> None:
    service = Service(after_s=0.1)
    with served(service, transport.split()[0]) as client:
        call = await begun(client, 0, stream="stream" in transport)
        async with asyncio.timeout(SOON_S):
            while not service.calls:  # noqa: ASYNC110  # it happens in another thread
                await asyncio.sleep(0.001)
        block()
        response = await call
        await client.close()

    assert len(response.output) == LARGE + 2
    assert service.calls == 1


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("transport", ["http", "grpc", "grpc stream"])
async def test_whenever_a_process_is_busy_the_service_has_its_time(
    transport: str, turns: int
) -> None:
    service = Service(after_s=0.1)
    with served(service, transport.split()[0]) as client:
        call = await begun(client, turns, stream="stream" in transport)
        block(0.8)
        response = await call
        await client.close()

    assert len(response.output) == LARGE + 2
    assert service.calls == 1


@pytest.mark.parametrize("transport", ["http", "grpc", "grpc stream"])
async def test_a_slow_service_is_left_in_time_by_a_busy_process_too(transport: str) -> None:
    service = Service(after_s=SOON_S)
    with served(service, transport.split()[0]) as client:
        call = await begun(client, 3, stream="stream" in transport)
        block(0.5)
        with pytest.raises(ServiceError) as raised:
            async with asyncio.timeout(SOON_S / 2):
                await call
        await client.close()

    assert raised.value.code == "SERVICE_TIMEOUT"


async def test_a_function_that_has_its_answer_is_not_timed_out_by_a_busy_process() -> None:
    there = asyncio.Event()

    async def answer(request: StepRequest) -> StepResponse:
        await there.wait()
        return StepResponse(output=Json("1"))

    call = await begun(InlineStepClient(answer, service="s"), 2)
    block(TIMEOUT_S + 0.1)
    there.set()

    assert (await call).output == "1"


async def test_the_worker_leaves_a_call_its_answer_after_it_stood_still() -> None:
    service = Service(after_s=0.1)

    async def slow() -> None:
        block(2.0)

    with served(service, "http") as client:
        request = a_request(timeout_s=TIMEOUT_S)
        response = await StepCall().run(client, request, slow_after_s=0.05, slow=slow)
        await client.close()

    assert len(response.output) == LARGE + 2


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_bytes_in_a_socket_are_heard_before_the_time_is_over(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def run() -> str:
        mine, others = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=mine)
        heard = asyncio.create_task(reader.read(10))
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def end(how: str) -> None:
            if not ended.done():
                ended.set_result(how)

        heard.add_done_callback(lambda _: end("heard"))
        AttemptClock(0.05, heard=lambda: int(heard.done()), late=lambda: end("late"))
        await asyncio.sleep(0)
        others.send(b"x")
        block(0.2)
        found = await ended
        writer.close()
        others.close()
        return found

    loop = new_loop()
    try:
        assert loop.run_until_complete(run()) == "heard"
    finally:
        loop.close()
