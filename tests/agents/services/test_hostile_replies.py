"""Whatever a service replies: the client answers, or raises a failure with a published code.

2,000 replies here; ``FUZZ_REPLIES=20000`` (``make fuzz``) makes it more. A good reply now and
then must come through in between.
"""

import asyncio
import os
import re
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random

import grpc
import pytest

from agents.services.client import StepClient, StepRequest, StepResponse
from agents.services.failure import MESSAGE_MAX_CHARS, ServiceError
from agents.services.grpc_client import GrpcStepClient
from agents.services.http_client import HttpStepClient
from agents.steps.report import Attempt, report_record
from schemas.dead_letter import Origin
from schemas.gen.services.v1 import step_service_pb2 as pb
from schemas.limits import Limits
from schemas.records import CommandId, Millis, StepCommand, StepName, TaskId
from schemas.topics import Topics, TopicsSettings
from streams.kafka.publisher import Outgoing
from tests.agents.services import hostile
from tests.agents.services.test_grpc_client import a_request

REPLIES = int(os.environ.get("FUZZ_REPLIES", "2000"))
MAX_BYTES = 64 * 1024
AT_ONCE = 20
GOOD_EVERY = 25
GOOD = '{"answer":"good"}'
PUBLISHED = set(
    re.findall(r"^\| `([A-Z_]+)`", Path("docs/errors.md").read_text("utf-8"), re.MULTILINE)
)

pytestmark = pytest.mark.timeout(1800)


# --- What must hold ---


async def outcome(client: StepClient, number: int, *, stream: bool = False) -> str:
    """``response``, or the code of the failure; anything else is a failure of this test."""
    good = number % GOOD_EVERY == 0
    # A machine that is busy may be late once; a reply that is good must come through.
    for _ in range(3 if good else 1):
        result = await attempt(client, number, stream=stream, timeout_s=30.0 if good else 1.0)
        if not isinstance(result, ServiceError) or not result.retriable:
            break
    if isinstance(result, ServiceError):
        assert not good, f"reply {number} was good: {result}"
        check_failure(result, number)
        return result.code
    check_response(result, number)
    assert not good or result.output == GOOD, number
    return "response"


async def attempt(
    client: StepClient, number: int, *, stream: bool, timeout_s: float
) -> StepResponse | ServiceError:
    chunks: list[str] = []
    request = a_numbered_request(number, timeout_s=timeout_s)
    try:
        return await client.call(request, on_chunk=chunks.append if stream else None)
    except ServiceError as error:
        return error
    except Exception as error:
        raise AssertionError(f"reply {number} came through as {error!r}") from error


def check_failure(failure: ServiceError, number: int) -> None:
    assert failure.code in PUBLISHED, number
    assert len(failure.message) <= MESSAGE_MAX_CHARS, number
    assert failure.message.isprintable(), number
    assert failure.message.encode().decode() == failure.message, number


def check_response(response: StepResponse, number: int) -> None:
    """What a worker does next, without looking: it makes a record of the response."""
    assert isinstance(response, StepResponse), number
    record = report_record(TOPICS, Limits(), ATTEMPT, ATTEMPT.succeeded(response, Millis(1)), {})
    assert isinstance(record, Outgoing), number
    assert record.value is not None, number


async def outcomes(count: int, one: Callable[[int], Awaitable[str]]) -> Counter[str]:
    """The outcomes of all numbers, ``AT_ONCE`` at a time."""
    free = asyncio.Semaphore(AT_ONCE)

    async def bounded(number: int) -> str:
        async with free:
            return await one(number)

    found = await asyncio.gather(*(bounded(number) for number in range(count)))
    return Counter(found)


def a_numbered_request(number: int, *, timeout_s: float) -> StepRequest:
    return a_request(key=f"task_1/1/generate/{number}", timeout_s=timeout_s)


TOPICS = Topics(TopicsSettings())
ATTEMPT = Attempt(
    command=StepCommand(
        command_id=CommandId("task_1/1/generate/1"),
        task_id=TaskId("task_1"),
        tenant_id="acme",
        step=StepName("generate"),
        deadline_at=Millis(10),
        dispatched_at=Millis(1),
    ),
    origin=Origin(
        topic="t", partition=0, offset=0, timestamp_ms=1, key=None, value=None, headers=()
    ),
    worker="w",
    started_at=Millis(1),
)


# --- HTTP ---


async def test_hostile_http_replies_are_responses_or_published_failures() -> None:
    server = await asyncio.start_server(serve_http, "127.0.0.1", 0, limit=2**20)
    port = server.sockets[0].getsockname()[1]
    client = HttpStepClient(f"http://127.0.0.1:{port}/", service="s", max_message_bytes=MAX_BYTES)

    found = await outcomes(REPLIES // 2, lambda number: outcome(client, number))

    await client.close()
    server.close()
    assert sum(found.values()) == REPLIES // 2
    assert len(found) >= 6, found


async def serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
            number = int(head.split("idempotency-key: ")[1].split("\r\n")[0].rpartition("/")[2])
            if number % GOOD_EVERY == 0:
                body = f'{{"output": {GOOD}}}'.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                continue
            d = hostile.dice(number)
            if d.random() < 0.05:
                writer.transport.abort()  # a reset, in place of an answer
                return
            writer.write(hostile.an_http_reply(d, MAX_BYTES))
            await writer.drain()
            if d.random() < 0.1:
                writer.transport.abort()
            return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


# --- gRPC: messages, statuses and streams of a real server ---


async def test_hostile_grpc_replies_are_responses_or_published_failures() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Run": grpc.unary_unary_rpc_method_handler(reply),
        "RunStream": grpc.unary_stream_rpc_method_handler(reply_in_pieces),
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("services.v1.StepService", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = GrpcStepClient(f"127.0.0.1:{port}", service="s", max_message_bytes=MAX_BYTES)

    found = await outcomes(
        REPLIES // 2 - REPLIES // 10,
        lambda number: outcome(client, number, stream=number % 3 == 1),
    )

    await client.close()
    await server.stop(grace=None)
    assert len(found) >= 6, found


Context = grpc.aio.ServicerContext[bytes, bytes]


async def reply(request: bytes, context: Context) -> bytes:
    number = number_of(context)
    if number % GOOD_EVERY == 0:
        return pb.RunResponse(output=GOOD).SerializeToString()
    d = hostile.dice(number)
    await refuse(d, context, 0.25)
    return hostile.a_message(d, MAX_BYTES)


async def reply_in_pieces(request: bytes, context: Context) -> AsyncIterator[bytes]:
    number = number_of(context)
    if number % GOOD_EVERY == 0:
        yield pb.RunEvent(chunk="good").SerializeToString()
        yield pb.RunEvent(response=pb.RunResponse(output=GOOD)).SerializeToString()
        return
    d = hostile.dice(number)
    for _ in range(d.randrange(4)):
        yield hostile.an_event(d, MAX_BYTES)
        await refuse(d, context, 0.15)
    if d.random() < 0.3:
        yield pb.RunEvent(response=pb.RunResponse(output="{}")).SerializeToString()


async def refuse(d: Random, context: Context, share: float) -> None:
    if d.random() < share:
        status = d.choice([code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
        words = hostile.sendable(d.choice(hostile.NASTY))
        await context.abort(status, words, trailing_metadata=hostile.some_trailers(d))


def number_of(context: Context) -> int:
    metadata = dict(context.invocation_metadata() or ())
    return int(str(metadata["idempotency-key"]).rpartition("/")[2])


# --- gRPC: connections that break, and frames that no library sends ---


async def test_hostile_http2_frames_are_responses_or_published_failures() -> None:
    # Their numbers begin at 1 and leave out the good ones: each has a server of its own.
    numbers = [number for number in range(REPLIES // 9) if number % GOOD_EVERY][: REPLIES // 10]

    found = await outcomes(len(numbers), lambda place: framed(numbers[place]))

    assert len(found) >= 4, found


async def framed(number: int) -> str:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        d = hostile.dice(number)
        try:
            await answer_frames(d, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = GrpcStepClient(f"127.0.0.1:{port}", service="s", max_message_bytes=MAX_BYTES)
    try:
        return await outcome(client, number, stream=number % 3 == 1)
    finally:
        await client.close()
        server.close()


async def answer_frames(
    d: Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    if d.random() < 0.1:
        writer.write(d.randbytes(50))
    writer.write(hostile.a_frame(hostile.SETTINGS, 0, 0, b""))
    await reader.readexactly(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
    if d.random() < 0.1:
        writer.transport.abort()
        return
    while True:
        head = await reader.readexactly(9)
        size, (kind, flags, stream) = int.from_bytes(head[:3]), struct.unpack(">BBI", head[3:])
        await reader.readexactly(size)
        if kind == hostile.SETTINGS and not flags & 1:
            writer.write(hostile.a_frame(hostile.SETTINGS, 1, 0, b""))
        elif kind == hostile.PING and not flags & 1:
            writer.write(hostile.a_frame(hostile.PING, 1, 0, bytes(8)))
        elif stream and flags & hostile.END_STREAM:
            writer.write(hostile.some_frames(d, stream, MAX_BYTES))
            await writer.drain()
            if d.random() < 0.5:
                return
