"""An answer that grows: chunks as they come, and a response that is complete without them."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from agents.services.failure import ServiceError
from schemas.gen.services.v1 import step_service_pb2 as pb
from tests.agents.services.test_grpc_client import (
    MAX_BYTES,
    SOON_S,
    ScriptedService,
    Stream,
    StreamContext,
    a_client,
    a_request,
    a_server,
    answers,
    hangs,
)

WHOLE = pb.RunEvent(response=pb.RunResponse(output='{"answer":"a b"}'))


def streams(*events: pb.RunEvent) -> Stream:
    async def stream(request: pb.RunRequest, context: StreamContext) -> AsyncIterator[pb.RunEvent]:
        for event in events:
            yield event

    return stream


async def streamed(service: ScriptedService) -> tuple[str, list[str]]:
    chunks: list[str] = []
    async with a_server(service) as port, a_client(port) as client:
        response = await client.call(a_request(), on_chunk=chunks.append)
    return response.output, chunks


async def the_error_of(service: ScriptedService) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await streamed(service)
    return caught.value


async def test_chunks_come_in_order_and_the_response_is_the_answer() -> None:
    stream = streams(pb.RunEvent(chunk="a "), pb.RunEvent(chunk="b"), WHOLE)

    output, chunks = await streamed(ScriptedService(answers, stream))

    assert (output, chunks) == ('{"answer":"a b"}', ["a ", "b"])


async def test_who_does_not_ask_for_chunks_is_not_streamed_to() -> None:
    service = ScriptedService(answers, streams(WHOLE))
    async with a_server(service) as port, a_client(port) as client:
        response = await client.call(a_request())

    assert (response.output, service.streams) == ('{"answer":"yes"}', 0)


async def test_a_service_that_cannot_stream_is_called_the_plain_way_once() -> None:
    service = ScriptedService(answers)

    output, chunks = await streamed(service)

    assert (output, chunks, len(service.calls)) == ('{"answer":"yes"}', [], 1)


async def test_a_chunk_of_a_kind_that_we_do_not_know_is_passed_over() -> None:
    stream = streams(pb.RunEvent(), pb.RunEvent(chunk="a"), WHOLE)

    _, chunks = await streamed(ScriptedService(answers, stream))

    assert chunks == ["a"]


@pytest.mark.parametrize(
    ("events", "code"),
    [
        pytest.param([], "SERVICE_RESPONSE_INVALID", id="nothing"),
        pytest.param([pb.RunEvent(chunk="a")], "SERVICE_RESPONSE_INVALID", id="no response"),
        pytest.param([WHOLE, WHOLE], "SERVICE_RESPONSE_INVALID", id="two responses"),
        pytest.param(
            [WHOLE, pb.RunEvent(chunk="a")], "SERVICE_RESPONSE_INVALID", id="a chunk at the end"
        ),
        pytest.param(
            [pb.RunEvent(chunk="x" * (MAX_BYTES // 2))] * 3,
            "SERVICE_MESSAGE_TOO_LARGE",
            id="more chunks than an answer may have bytes",
        ),
    ],
)
async def test_a_stream_that_breaks_the_contract_is_permanent(
    events: list[pb.RunEvent], code: str
) -> None:
    error = await the_error_of(ScriptedService(answers, streams(*events)))

    assert (error.code, error.retriable) == (code, False)


async def test_a_stream_that_breaks_off_fails_by_its_status() -> None:
    async def stream(request: pb.RunRequest, context: StreamContext) -> AsyncIterator[pb.RunEvent]:
        yield pb.RunEvent(chunk="a")
        await context.abort(grpc.StatusCode.UNAVAILABLE, "out of breath")

    error = await the_error_of(ScriptedService(answers, stream))

    assert (error.code, error.retriable) == ("SERVICE_UNAVAILABLE", True)


async def test_a_service_that_began_to_stream_is_not_called_again() -> None:
    async def stream(request: pb.RunRequest, context: StreamContext) -> AsyncIterator[pb.RunEvent]:
        yield pb.RunEvent(chunk="a")
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not any further")

    service = ScriptedService(answers, stream)
    error = await the_error_of(service)

    assert (error.code, service.calls) == ("SERVICE_METHOD_UNKNOWN", [])


async def test_cancelling_the_caller_aborts_a_stream_at_the_service() -> None:
    async def stream(request: pb.RunRequest, context: StreamContext) -> AsyncIterator[pb.RunEvent]:
        yield pb.RunEvent(chunk="a")
        await hangs(request, context)  # type: ignore[arg-type]

    service = ScriptedService(answers, stream)
    chunk = asyncio.Event()
    async with a_server(service) as port, a_client(port) as client:
        call = asyncio.create_task(
            client.call(a_request(timeout_s=60.0), on_chunk=lambda _: chunk.set())
        )
        async with asyncio.timeout(SOON_S):
            await chunk.wait()
            call.cancel()
            await service.aborted.wait()
            with pytest.raises(asyncio.CancelledError):
                await call

    assert call.cancelled()


async def test_a_stream_that_hangs_is_left_at_the_deadline() -> None:
    async def stream(request: pb.RunRequest, context: StreamContext) -> AsyncIterator[pb.RunEvent]:
        yield pb.RunEvent(chunk="a")
        await hangs(request, context)  # type: ignore[arg-type]

    async with a_server(ScriptedService(answers, stream)) as port, a_client(port) as client:
        with pytest.raises(ServiceError) as caught:
            await client.call(a_request(timeout_s=0.3), on_chunk=lambda _: None)

    assert caught.value.code == "SERVICE_TIMEOUT"
