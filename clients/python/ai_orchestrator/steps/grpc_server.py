"""The contract over gRPC, with the extra ``grpc``: it shows the chunks of a growing answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from importlib.resources import files
from typing import Any, NoReturn

import grpc
import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from ai_orchestrator.steps.call import Call, Substep, UsageReport
from ai_orchestrator.steps.declaring import Steps
from ai_orchestrator.steps.failure import CallFailedError
from ai_orchestrator.steps.http_server import MESSAGE_MAX_BYTES, timeout_of
from ai_orchestrator.steps.running import Answer, OnChunk, answer_call

_STOP_GRACE_S = 1.0
_OPTIONS = (
    # Otherwise two processes share a port, and each of them gets some of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
    # Workers check a silent connection more often than every five minutes.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)


def _messages() -> dict[str, Any]:
    """The classes of the contract's messages.

    In a pool of their own: a program may have generated code of the same contract in another
    version, and the default pool takes a file's name once.
    """
    declared = descriptor_pb2.FileDescriptorProto.FromString(
        (files("ai_orchestrator.steps") / "contract.binpb").read_bytes()
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(declared)
    return {
        message.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"services.v1.{message.name}")
        )
        for message in declared.message_type
    }


_PB = _messages()


class GrpcSteps:
    """Serves steps over gRPC; the arguments are those of ``HttpSteps``."""

    def __init__(self, steps: Callable[[], Steps], executor: Executor) -> None:
        self._steps = steps
        self._executor = executor
        self._server: grpc.aio.Server | None = None

    async def open(self, host: str, port: int) -> int:
        """Listen; return the port, which is a free one for 0.

        Raises:
            OSError: the port is taken.
        """
        server = grpc.aio.server(options=_OPTIONS)
        reads = _PB["RunRequest"].FromString
        methods = {
            "Run": grpc.unary_unary_rpc_method_handler(
                self._run, reads, _PB["RunResponse"].SerializeToString
            ),
            "RunStream": grpc.unary_stream_rpc_method_handler(
                self._run_stream, reads, _PB["RunEvent"].SerializeToString
            ),
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("services.v1.StepService", methods)]
        )
        try:
            bound = server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(f"cannot listen at {host}:{port}") from error
        await server.start()
        self._server = server
        return bound

    async def close(self) -> None:
        """Stop listening; calls that run are cancelled after a second."""
        if self._server is not None:
            await self._server.stop(_STOP_GRACE_S)

    async def _run(self, request: Any, context: Any) -> Any:
        try:
            return _response(await self._answer(request, context, lambda chunk: None))
        except CallFailedError as failed:
            await _abort(context, failed)

    async def _run_stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        chunks: asyncio.Queue[str | None] = asyncio.Queue()
        work = asyncio.ensure_future(self._answer(request, context, _bounded(chunks)))
        work.add_done_callback(lambda _: chunks.put_nowait(None))
        try:
            while (chunk := await chunks.get()) is not None:
                yield _PB["RunEvent"](chunk=chunk)
            yield _PB["RunEvent"](response=_response(work.result()))
        except CallFailedError as failed:
            await _abort(context, failed)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _answer(self, request: Any, context: Any, on_chunk: OnChunk) -> Answer:
        sent = dict(context.invocation_metadata() or ())
        call = Call(
            method=request.method,
            task_id=request.task_id,
            run=request.run,
            step=request.step,
            attempt=request.attempt,
            tenant_id=request.tenant_id,
            conversation_id=request.conversation_id or None,
            idempotency_key=sent.get("idempotency-key", ""),
            traceparent=sent.get("traceparent"),
            timeout_s=timeout_of(sent.get("x-timeout-ms")),
        )
        return await answer_call(
            self._steps(), call, request.input, executor=self._executor, on_chunk=on_chunk
        )


def _bounded(chunks: "asyncio.Queue[str | None]") -> OnChunk:
    """Take chunks up to the size of an answer; more would fail the call, and are left out."""
    left = MESSAGE_MAX_BYTES // 4  # characters of UTF-8 have up to four bytes

    def take(chunk: str) -> None:
        nonlocal left
        left -= len(chunk)
        if left >= 0 and chunk:
            chunks.put_nowait(chunk)

    return take


async def _abort(context: Any, failed: CallFailedError) -> NoReturn:
    trailing = [("error-code", failed.code)]
    if failed.after_s is not None:
        trailing.append(("retry-after-ms", str(round(failed.after_s * 1000))))
    status = grpc.StatusCode[failed.kind.value[1]]
    await context.abort(status, failed.message, tuple(trailing))
    raise AssertionError("abort raises")


def _response(answer: Answer) -> Any:
    return _PB["RunResponse"](
        output=answer.output.decode(),
        usage=_usage(answer.usage),
        substeps=[_substep(substep) for substep in answer.substeps],
    )


def _usage(usage: UsageReport | None) -> Any:
    return None if usage is None else _PB["Usage"](**msgspec.structs.asdict(usage))


def _substep(substep: Substep) -> Any:
    error = substep.error
    return _PB["SubStep"](
        name=substep.name,
        status=substep.status,
        input=bytes(substep.input).decode(),
        output=bytes(substep.output).decode(),
        error=None if error is None else _PB["Error"](**msgspec.structs.asdict(error)),
        started_at=substep.started_at,
        completed_at=substep.completed_at,
        usage=_usage(substep.usage),
    )
