"""The generic contract around the methods of a reference service."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import NoReturn

import grpc
import structlog

from orchestrator.local.demo.answer import (
    Answer,
    BadInputError,
    LongMethod,
    Method,
    NotInstalledError,
)
from orchestrator.local.demo.calls import CallLog
from orchestrator.local.demo.faults import Fault, Faults
from schemas.gen.services.v1 import step_service_pb2 as pb
from schemas.gen.services.v1.step_service_pb2_grpc import StepServiceServicer
from schemas.records import SubStep, Usage

Context = grpc.aio.ServicerContext[pb.RunRequest, pb.RunResponse]
StreamContext = grpc.aio.ServicerContext[pb.RunRequest, pb.RunEvent]
AnyContext = Context | StreamContext

_log = structlog.get_logger()


class StepServicer(StepServiceServicer):
    """One service: finds the method, applies faults, notes the call, answers.

    Args:
        service: its name in faults and in the call log.
        methods: by the names that pipelines use; run on the event loop.
        long_methods: the methods that run in ``executor``.
        executor: None: the event loop's own.
        faults: the faults to apply.
        calls: the log of calls.
    """

    def __init__(
        self,
        service: str,
        methods: Mapping[str, Method],
        *,
        long_methods: Mapping[str, LongMethod],
        executor: Executor | None,
        faults: Faults,
        calls: CallLog,
    ) -> None:
        self._service = service
        self._methods = methods
        self._long_methods = long_methods
        self._executor = executor
        self._faults = faults
        self._calls = calls

    async def Run(self, request: pb.RunRequest, context: Context) -> pb.RunResponse:  # noqa: N802
        """Run one call; gRPC cancels this coroutine when the caller gives up."""
        with self._noted(request, context):
            return _response(await self._answer(request, context))

    async def RunStream(  # noqa: N802
        self, request: pb.RunRequest, context: StreamContext
    ) -> AsyncIterator[pb.RunEvent]:
        """Run one call, and send the answer in pieces before the complete response."""
        with self._noted(request, context):
            answer = await self._answer(request, context)
            for chunk in answer.chunks:
                yield pb.RunEvent(chunk=chunk)
            yield pb.RunEvent(response=_response(answer))

    @contextmanager
    def _noted(self, request: pb.RunRequest, context: AnyContext) -> Iterator[None]:
        """Note the call and how it ends."""
        call = self._calls.began(self._service, request, _metadata(context))
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self._calls.ended(call, status=None, aborted=True)
            raise
        except grpc.aio.AbortError:
            self._calls.ended(call, status=_status_of(context))
            raise
        except BaseException:
            self._calls.ended(call, status=grpc.StatusCode.UNKNOWN.name)
            _log.exception("demo_call_failed", service=self._service, method=request.method)
            raise
        self._calls.ended(call, status=grpc.StatusCode.OK.name)

    async def _answer(self, request: pb.RunRequest, context: AnyContext) -> Answer:
        fault = self._faults.take(self._service, request)
        if fault is not None:
            broken = await _misbehave(fault, context)
            if broken is not None:
                return broken
        long_method = self._long_methods.get(request.method)
        if long_method is None and request.method not in self._methods:
            known = ", ".join([*self._methods, *self._long_methods])
            await _abort(context, "UNIMPLEMENTED", f"methods: {known}", "METHOD_UNKNOWN")
        try:
            if long_method is not None:
                return await self._in_a_thread(long_method, request.input)
            return self._methods[request.method](request.input)
        except BadInputError as error:
            await _abort(context, "INVALID_ARGUMENT", str(error), error.code)
        except NotInstalledError as error:
            await _abort(context, "FAILED_PRECONDITION", str(error), error.code)

    async def _in_a_thread(self, method: LongMethod, text: str) -> Answer:
        """Await a long method; if this coroutine is cancelled, the method goes on and ends soon."""
        stop = threading.Event()
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, method, text, stop)
        finally:
            stop.set()


_PAID_FOR = Usage(model="reference", input_tokens=20, output_tokens=10, cost_micros=30)
"""An answer that cannot be used costs as much as any other."""


async def _misbehave(fault: Fault, context: AnyContext) -> Answer | None:
    if fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    if fault.hang:
        # Ends at the caller's deadline: gRPC cancels this coroutine when it passes.
        await asyncio.Event().wait()
    if fault.status is not None:
        await _abort(context, fault.status, "by a fault", fault.error_code, fault.retry_after_ms)
    return None if fault.output is None else Answer(output=fault.output, usage=_PAID_FOR)


async def _abort(
    context: AnyContext,
    status: str,
    details: str,
    error_code: str | None = None,
    retry_after_ms: int | None = None,
) -> NoReturn:
    trailing: list[tuple[str, str | bytes]] = []
    if error_code is not None:
        trailing.append(("error-code", error_code))
    if retry_after_ms is not None:
        trailing.append(("retry-after-ms", str(retry_after_ms)))
    await context.abort(grpc.StatusCode[status], details, trailing_metadata=tuple(trailing))
    raise AssertionError("abort raises")


def _metadata(context: AnyContext) -> dict[str, str]:
    pairs = context.invocation_metadata() or ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def _status_of(context: AnyContext) -> str:
    code = context.code()
    named = {status.value[0]: status for status in grpc.StatusCode}
    return named[code].name if isinstance(code, int) else code.name


def _response(answer: Answer) -> pb.RunResponse:
    return pb.RunResponse(
        output=answer.output,
        usage=_usage(answer.usage),
        substeps=[_substep(substep) for substep in answer.substeps],
    )


def _substep(substep: SubStep) -> pb.SubStep:
    error = substep.error
    return pb.SubStep(
        name=substep.name,
        status=substep.status,
        input=substep.input,
        output=substep.output,
        error=None
        if error is None
        else pb.Error(code=error.code, message=error.message, category=error.category),
        started_at=substep.started_at,
        completed_at=substep.completed_at,
        usage=_usage(substep.usage),
    )


def _usage(usage: Usage | None) -> pb.Usage | None:
    if usage is None:
        return None
    return pb.Usage(
        model=usage.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_micros=usage.cost_micros,
        estimated=usage.estimated,
    )
