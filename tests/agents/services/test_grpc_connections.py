"""An answer belongs to its call over gRPC too: HTTP/2 numbers its streams, and the client looks."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from agents.services.failure import ServiceError
from agents.services.grpc_client import GrpcStepClient
from schemas.gen.services.v1 import step_service_pb2 as pb
from tests.agents.services import hostile
from tests.agents.services.test_grpc_client import MAX_BYTES, SOON_S, a_request

Answer = Callable[[int, int], Iterator[bytes]]
"""Takes the stream of a request, and which request it is, from 1; gives frames to write."""


def message(of: int) -> bytes:
    body = pb.RunResponse(output=json.dumps({"of": of})).SerializeToString()
    return struct.pack(">BI", 0, len(body)) + body


def head(stream: int) -> bytes:
    block = hostile.a_header_block([(b":status", b"200"), (b"content-type", b"application/grpc")])
    return hostile.a_frame(hostile.HEADERS_FRAME, hostile.END_HEADERS, stream, block)


def data(stream: int, of: int) -> bytes:
    return hostile.a_frame(hostile.DATA, 0, stream, message(of))


def trailers(stream: int) -> bytes:
    flags = hostile.END_HEADERS | hostile.END_STREAM
    block = hostile.a_header_block([(b"grpc-status", b"0")])
    return hostile.a_frame(hostile.HEADERS_FRAME, flags, stream, block)


def whole(stream: int, of: int) -> bytes:
    return head(stream) + data(stream, of) + trailers(stream)


@contextlib.asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[tuple[GrpcStepClient, asyncio.Event]]:
    called, requests = asyncio.Event(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        writer.write(hostile.a_frame(hostile.SETTINGS, 0, 0, b""))
        with contextlib.suppress(
            asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
        ):
            await reader.readexactly(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
            while True:
                frame = await reader.readexactly(9)
                size, (kind, flags, stream) = (
                    int.from_bytes(frame[:3]),
                    struct.unpack(">BBI", frame[3:]),
                )
                payload = await reader.readexactly(size)
                if kind == hostile.SETTINGS and not flags & 1:
                    writer.write(hostile.a_frame(hostile.SETTINGS, 1, 0, b""))
                elif kind == hostile.PING and not flags & 1:
                    writer.write(hostile.a_frame(hostile.PING, 1, 0, payload))
                elif stream and flags & hostile.END_STREAM:
                    requests += 1
                    for piece in answer(stream, requests):
                        writer.write(piece)
                    called.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = GrpcStepClient(f"127.0.0.1:{port}", service="s", max_message_bytes=MAX_BYTES)
    try:
        yield client, called
    finally:
        await client.close()
        server.close()


async def outcome(client: GrpcStepClient, timeout_s: float = SOON_S) -> str:
    try:
        response = await client.call(a_request(timeout_s=timeout_s))
    except ServiceError as error:
        return error.code
    return f"answer {json.loads(response.output)['of']}"


async def test_a_second_message_for_a_unary_call_is_nobodys_answer() -> None:
    def answer(stream: int, nth: int) -> Iterator[bytes]:
        two = head(stream) + data(stream, nth) + data(stream, 99) + trailers(stream)
        yield two if nth == 1 else whole(stream, nth)

    async with served(answer) as (client, _):
        found = [await outcome(client, timeout_s=1.0), await outcome(client), await outcome(client)]

    # gRPC reads one message, and does not see the end of the call behind a second one.
    assert found == ["SERVICE_TIMEOUT", "answer 2", "answer 3"]


async def test_an_answer_that_comes_twice_is_not_that_of_the_next_call() -> None:
    def answer(stream: int, nth: int) -> Iterator[bytes]:
        yield whole(stream, nth) * 2

    async with served(answer) as (client, _):
        found = [await outcome(client) for _ in range(3)]

    # What is left of a closed stream may end the connection, but never becomes an answer.
    assert all(end in (f"answer {n}", "SERVICE_UNAVAILABLE") for n, end in enumerate(found, 1))
    assert found[0] == "answer 1"


async def test_an_answer_on_a_stream_that_does_not_exist_yet_is_nobodys() -> None:
    def answer(stream: int, nth: int) -> Iterator[bytes]:
        yield whole(stream + 2, 99) + whole(stream, nth)

    async with served(answer) as (client, _):
        found = [await outcome(client, timeout_s=1.0) for _ in range(3)]

    assert not any(end == "answer 99" for end in found), found


@pytest.mark.parametrize("end", ["cancelled", "timed out"])
async def test_the_answer_to_a_call_that_was_given_up_is_nobodys(end: str) -> None:
    given_up: list[int] = []

    def answer(stream: int, nth: int) -> Iterator[bytes]:
        if nth == 1:
            given_up.append(stream)
            return
        if nth == 2:
            yield whole(given_up[0], 1)
        yield whole(stream, nth)

    async with served(answer) as (client, called):
        first = asyncio.create_task(outcome(client, timeout_s=0.3))
        async with asyncio.timeout(SOON_S):
            await called.wait()
            if end == "cancelled":
                first.cancel()
            await asyncio.wait([first])
        found = [await outcome(client), await outcome(client)]

    assert first.cancelled() or first.result() == "SERVICE_TIMEOUT"
    assert found == ["answer 2", "answer 3"]
