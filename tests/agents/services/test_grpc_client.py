"""The gRPC client against real servers of the generic contract, on port 0."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from agents.services.client import StepRequest, StepResponse
from agents.services.failure import CallFailure, ServiceError
from agents.services.grpc_client import DEADLINE_SLACK_S, GrpcStepClient
from schemas.gen.services.v1 import step_service_pb2 as pb
from schemas.gen.services.v1 import step_service_pb2_grpc as pb_grpc
from schemas.records import (
    CommandId,
    Error,
    ErrorCategory,
    Json,
    Millis,
    StepName,
    SubStep,
    TaskId,
    Usage,
)

Context = grpc.aio.ServicerContext[pb.RunRequest, pb.RunResponse]
Run = Callable[[pb.RunRequest, Context], Awaitable[pb.RunResponse]]
StreamContext = grpc.aio.ServicerContext[pb.RunRequest, pb.RunEvent]
Stream = Callable[[pb.RunRequest, StreamContext], AsyncIterator[pb.RunEvent]]

MAX_BYTES = 64 * 1024
SOON_S = 5.0
"""An upper bound for what takes milliseconds, on a machine that is busy."""


class ScriptedService(pb_grpc.StepServiceServicer):
    """Runs what the test wrote, and remembers who called."""

    def __init__(self, run: Run, stream: Stream | None = None) -> None:
        self._run = run
        self._stream = stream
        self.calls: list[tuple[pb.RunRequest, dict[str, str | bytes], str]] = []
        self.streams = 0
        self.called = asyncio.Event()
        self.aborted = asyncio.Event()

    async def Run(self, request: pb.RunRequest, context: Context) -> pb.RunResponse:  # noqa: N802
        metadata = dict(context.invocation_metadata() or ())
        self.calls.append((request, metadata, context.peer()))
        self.called.set()
        try:
            return await self._run(request, context)
        except asyncio.CancelledError:
            self.aborted.set()
            raise

    async def RunStream(  # noqa: N802
        self, request: pb.RunRequest, context: StreamContext
    ) -> AsyncIterator[pb.RunEvent]:
        if self._stream is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no streams")
            raise AssertionError("abort raises")
        self.streams += 1
        self.called.set()
        try:
            async for event in self._stream(request, context):
                yield event
        except (asyncio.CancelledError, GeneratorExit):
            self.aborted.set()
            raise


@contextlib.asynccontextmanager
async def a_server(
    service: ScriptedService,
    *,
    port: int = 0,
    max_receive_bytes: int = -1,
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncIterator[int]:
    server = grpc.aio.server(
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", max_receive_bytes)]
    )
    pb_grpc.add_StepServiceServicer_to_server(service, server)
    at = f"127.0.0.1:{port}"
    if credentials is None:
        bound = server.add_insecure_port(at)
    else:
        bound = server.add_secure_port(at, credentials)
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(grace=None)


@contextlib.asynccontextmanager
async def a_client(port: int) -> AsyncIterator[GrpcStepClient]:
    client = GrpcStepClient(f"127.0.0.1:{port}", service="rag-engine", max_message_bytes=MAX_BYTES)
    try:
        yield client
    finally:
        await client.close()


def a_request(
    *,
    text: str = "{}",
    timeout_s: float = SOON_S,
    key: str = "task_1/1/generate/1",
    trace: dict[str, str] | None = None,
) -> StepRequest:
    return StepRequest(
        method="Generate",
        input=Json(text),
        task_id=TaskId("task_1"),
        run=1,
        step=StepName("generate"),
        attempt=1,
        tenant_id="acme",
        conversation_id="conv_1",
        idempotency_key=CommandId(key),
        timeout_s=timeout_s,
        trace=trace or {},
    )


async def answers(request: pb.RunRequest, context: Context) -> pb.RunResponse:
    return pb.RunResponse(output='{"answer":"yes"}')


async def hangs(request: pb.RunRequest, context: Context) -> pb.RunResponse:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def fails(
    status: grpc.StatusCode, details: str = "", **trailing: str
) -> Callable[[pb.RunRequest, Context], Awaitable[pb.RunResponse]]:
    async def run(request: pb.RunRequest, context: Context) -> pb.RunResponse:
        metadata = tuple((key.replace("_", "-"), value) for key, value in trailing.items())
        await context.abort(status, details, trailing_metadata=metadata)
        raise AssertionError("unreachable")

    return run


async def the_error_of(client: GrpcStepClient, request: StepRequest) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await client.call(request)
    return caught.value


# --- A call ---


async def test_a_request_arrives_whole_with_its_key_and_its_trace() -> None:
    service = ScriptedService(answers)
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with a_server(service) as port, a_client(port) as client:
        await client.call(a_request(text='{"q":1}', trace={"traceparent": traceparent}))

    request, metadata, _ = service.calls[0]
    assert request == pb.RunRequest(
        method="Generate",
        input='{"q":1}',
        task_id="task_1",
        run=1,
        step="generate",
        attempt=1,
        tenant_id="acme",
        conversation_id="conv_1",
    )
    assert metadata["idempotency-key"] == "task_1/1/generate/1"
    assert metadata["traceparent"] == traceparent


async def test_an_answer_comes_back_with_its_usage_and_its_substeps() -> None:
    usage = pb.Usage(model="m", input_tokens=3, output_tokens=2, cost_micros=7, estimated=True)
    error = pb.Error(code="TOOL_DOWN", message="no", category="downstream", retriable=True)
    substep = pb.SubStep(
        name="search", status="failed", output="[1]", error=error, started_at=5, usage=usage
    )

    async def run(request: pb.RunRequest, context: Context) -> pb.RunResponse:
        return pb.RunResponse(output="[]", usage=usage, substeps=[substep])

    async with a_server(ScriptedService(run)) as port, a_client(port) as client:
        response = await client.call(a_request())

    expected_usage = Usage(
        model="m", input_tokens=3, output_tokens=2, cost_micros=7, estimated=True
    )
    assert response == StepResponse(
        output=Json("[]"),
        usage=expected_usage,
        substeps=[
            SubStep(
                name="search",
                status="failed",
                output=Json("[1]"),
                error=Error(
                    code="TOOL_DOWN",
                    message="no",
                    category=ErrorCategory.DOWNSTREAM,
                    retriable=True,
                ),
                started_at=Millis(5),
                usage=expected_usage,
            )
        ],
    )


async def test_many_calls_share_one_connection() -> None:
    service = ScriptedService(answers)
    async with a_server(service) as port, a_client(port) as client:
        await asyncio.gather(*(client.call(a_request()) for _ in range(50)))

    assert len(service.calls) == 50
    assert len({peer for _, _, peer in service.calls}) == 1


async def test_trace_headers_that_cannot_be_sent_are_left_out() -> None:
    service = ScriptedService(answers)
    trace = {
        "traceparent": "not\nascii ü",
        "Bad Key": "x",
        "grpc-timeout": "1S",
        "blob-bin": "x",
        "idempotency-key": "stolen",
        "tracestate": "a=b",
    }
    async with a_server(service) as port, a_client(port) as client:
        await client.call(a_request(trace=trace))

    metadata = service.calls[0][1]
    assert metadata["tracestate"] == "a=b"
    assert metadata["idempotency-key"] == "task_1/1/generate/1"
    assert not {"traceparent", "Bad Key", "bad key", "blob-bin"} & set(metadata)


# --- Failures that the service reports ---


async def test_a_refusal_is_permanent_and_carries_the_code_of_the_service() -> None:
    run = fails(grpc.StatusCode.INVALID_ARGUMENT, "query is empty", error_code="QUERY_EMPTY")
    async with a_server(ScriptedService(run)) as port, a_client(port) as client:
        error = await the_error_of(client, a_request())

    assert (error.failure_class, error.retriable) == (CallFailure.PERMANENT, False)
    assert (error.code, error.detail_code) == ("SERVICE_REFUSED", "QUERY_EMPTY")
    assert error.message == "rag-engine: INVALID_ARGUMENT QUERY_EMPTY: query is empty"


async def test_an_overloaded_service_says_when_to_come_back() -> None:
    run = fails(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_ms="1500")
    async with a_server(ScriptedService(run)) as port, a_client(port) as client:
        error = await the_error_of(client, a_request())

    assert (error.code, error.retriable, error.retry_after_ms) == (
        "SERVICE_OVERLOADED",
        True,
        1500,
    )


@pytest.mark.parametrize("status", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
@pytest.mark.parametrize(("own_ms", "expected_ms"), [(None, 3000), ("1500", 3000), ("4000", 4000)])
async def test_retry_info_is_a_lower_bound_for_the_next_attempt(
    status: str, own_ms: str | None, expected_ms: int
) -> None:
    said = status_pb2.Status(code=grpc.StatusCode[status].value[0])
    said.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=3)))
    metadata = [("grpc-status-details-bin", said.SerializeToString())]
    if own_ms is not None:
        metadata.append(("retry-after-ms", own_ms))

    async def run(request: pb.RunRequest, context: Context) -> pb.RunResponse:
        await context.abort(grpc.StatusCode[status], "later", trailing_metadata=tuple(metadata))
        raise AssertionError("unreachable")

    async with a_server(ScriptedService(run)) as port, a_client(port) as client:
        error = await the_error_of(client, a_request())

    assert error.retry_after_ms == expected_ms


async def test_a_call_that_the_server_cancels_is_a_failure_and_no_cancellation() -> None:
    run = fails(grpc.StatusCode.CANCELLED, "shutting down")
    async with a_server(ScriptedService(run)) as port, a_client(port) as client:
        error = await the_error_of(client, a_request())

    assert (error.code, error.failure_class) == ("SERVICE_ABORTED", CallFailure.TRANSIENT)


async def test_an_exception_in_the_service_is_transient() -> None:
    async def run(request: pb.RunRequest, context: Context) -> pb.RunResponse:
        raise KeyError("bug")

    async with a_server(ScriptedService(run)) as port, a_client(port) as client:
        error = await the_error_of(client, a_request())

    assert (error.code, error.failure_class) == ("SERVICE_FAILED", CallFailure.TRANSIENT)


async def test_another_service_behind_the_address_is_permanent() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with a_client(port) as client:
        error = await the_error_of(client, a_request())
    await server.stop(grace=None)

    assert (error.code, error.retriable) == ("SERVICE_METHOD_UNKNOWN", False)


async def test_a_service_is_called_once_also_when_it_fails() -> None:
    service = ScriptedService(fails(grpc.StatusCode.UNAVAILABLE))
    async with a_server(service) as port, a_client(port) as client:
        await the_error_of(client, a_request())

    assert len(service.calls) == 1


# --- Answers that cannot be used ---


async def test_an_answer_over_the_limit_is_permanent_though_grpc_calls_it_exhaustion() -> None:
    async def run(request: pb.RunRequest, context: Context) -> pb.RunResponse:
        return pb.RunResponse(output="x" * (MAX_BYTES + 1))

    async with a_server(ScriptedService(run)) as port, a_client(port) as client:
        error = await the_error_of(client, a_request())

    assert (error.code, error.retriable) == ("SERVICE_MESSAGE_TOO_LARGE", False)


async def test_a_request_over_the_limit_of_the_service_is_permanent() -> None:
    service = ScriptedService(answers)
    async with a_server(service, max_receive_bytes=1024) as port, a_client(port) as client:
        error = await the_error_of(client, a_request(text="x" * 2048))

    assert (error.code, error.retriable) == ("SERVICE_MESSAGE_TOO_LARGE", False)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(pb.RunResponse(usage=pb.Usage(cost_micros=-1)), id="negative cost"),
        pytest.param(pb.RunResponse(usage=pb.Usage(input_tokens=2**62)), id="absurd count"),
        pytest.param(pb.RunResponse(substeps=[pb.SubStep(started_at=-1)]), id="before 1970"),
        pytest.param(
            pb.RunResponse(substeps=[pb.SubStep(started_at=1, completed_at=2**60)]),
            id="after 9999",
        ),
    ],
)
async def test_an_answer_with_impossible_numbers_is_permanent(answer: pb.RunResponse) -> None:
    async def run(request: pb.RunRequest, context: Context) -> pb.RunResponse:
        return answer

    async with a_server(ScriptedService(run)) as port, a_client(port) as client:
        error = await the_error_of(client, a_request())

    assert (error.code, error.retriable) == ("SERVICE_RESPONSE_INVALID", False)


async def test_bytes_that_are_no_answer_are_permanent() -> None:
    async def run(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return b"\xff\xff\xff"

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Run": grpc.unary_unary_rpc_method_handler(run)
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("services.v1.StepService", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with a_client(port) as client:
        error = await the_error_of(client, a_request())
    await server.stop(grace=None)

    assert (error.code, error.retriable) == ("SERVICE_RESPONSE_INVALID", False)


# --- Requests that cannot be sent ---


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(a_request(text="secret \ud800"), id="a lone surrogate"),
        pytest.param(a_request(text="x" * (MAX_BYTES + 1)), id="too large"),
        pytest.param(a_request(key="task_ü/1/s/1"), id="a key that is not ASCII"),
        pytest.param(a_request(key=""), id="an empty key"),
    ],
)
async def test_a_request_that_cannot_be_sent_is_poison_and_calls_nobody(
    request_: StepRequest,
) -> None:
    service = ScriptedService(answers)
    async with a_server(service) as port, a_client(port) as client:
        error = await the_error_of(client, request_)

    assert (error.code, error.failure_class) == ("SERVICE_REQUEST_INVALID", CallFailure.POISON)
    assert "secret" not in error.message
    assert service.calls == []


# --- Deadlines ---


async def test_a_hanging_service_is_left_at_the_deadline_and_told_so() -> None:
    service = ScriptedService(hangs)
    async with a_server(service) as port, a_client(port) as client:
        began = time.monotonic()
        async with asyncio.timeout(SOON_S):
            error = await the_error_of(client, a_request(timeout_s=0.3))
            waited_s = time.monotonic() - began
            await service.aborted.wait()

    assert (error.code, error.failure_class) == ("SERVICE_TIMEOUT", CallFailure.TIMEOUT)
    assert error.retriable
    assert 0.25 <= waited_s < 2.0


async def test_the_service_knows_how_long_the_caller_waits() -> None:
    left: list[float | None] = []

    async def run(request: pb.RunRequest, context: Context) -> pb.RunResponse:
        left.append(context.time_remaining())
        return pb.RunResponse(output="{}")

    service = ScriptedService(run)
    async with a_server(service) as port, a_client(port) as client:
        await client.call(a_request(timeout_s=60.0))

    assert left[0] is not None
    assert 50.0 < left[0] <= 60.0 + 2 * DEADLINE_SLACK_S
    assert service.calls[0][1]["x-timeout-ms"] == "60000"


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
async def test_without_time_left_the_service_is_not_called(timeout_s: float) -> None:
    service = ScriptedService(answers)
    async with a_server(service) as port, a_client(port) as client:
        error = await the_error_of(client, a_request(timeout_s=timeout_s))

    assert error.code == "SERVICE_TIMEOUT"
    assert service.calls == []


# --- Cancellation ---
