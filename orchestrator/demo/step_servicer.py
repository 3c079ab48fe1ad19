"""The generic contract around the methods of a reference service."""

import asyncio
from collections.abc import Mapping
from typing import NoReturn

import grpc
import structlog

from orchestrator.demo.answer import Answer, BadInputError, Method
from orchestrator.demo.calls import CallLog
from orchestrator.demo.faults import Fault, Faults
from schemas.gen.services.v1 import step_service_pb2 as pb
from schemas.gen.services.v1.step_service_pb2_grpc import StepServiceServicer

Context = grpc.aio.ServicerContext[pb.RunRequest, pb.RunResponse]

_log = structlog.get_logger()


class StepServicer(StepServiceServicer):
    """One service: finds the method, applies faults, notes the call, answers.

    Args:
        service: its name in faults and in the call log.
        methods: by the names that pipelines use.
        faults: what shall go wrong.
        calls: where calls are noted.
    """

    def __init__(
        self, service: str, methods: Mapping[str, Method], *, faults: Faults, calls: CallLog
    ) -> None:
        self._service = service
        self._methods = methods
        self._faults = faults
        self._calls = calls

    async def Run(self, request: pb.RunRequest, context: Context) -> pb.RunResponse:  # noqa: N802
        """Run one call; gRPC cancels this coroutine when the caller gives up."""
        call = self._calls.began(self._service, request, _metadata(context))
        try:
            response = await self._run(request, context)
        except asyncio.CancelledError:
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
        return response

    async def _run(self, request: pb.RunRequest, context: Context) -> pb.RunResponse:
        fault = self._faults.take(self._service, request)
        if fault is not None:
            broken = await _misbehave(fault, context)
            if broken is not None:
                return broken
        method = self._methods.get(request.method)
        if method is None:
            known = ", ".join(self._methods)
            await _abort(context, "UNIMPLEMENTED", f"methods: {known}", "METHOD_UNKNOWN")
        try:
            return _response(method(request.input))
        except BadInputError as error:
            await _abort(context, "INVALID_ARGUMENT", str(error), error.code)


async def _misbehave(fault: Fault, context: Context) -> pb.RunResponse | None:
    if fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    if fault.hang:
        # The bound is the caller's deadline: gRPC cancels this coroutine when it passes.
        await asyncio.Event().wait()
    if fault.status is not None:
        await _abort(context, fault.status, "by a fault", fault.error_code, fault.retry_after_ms)
    return None if fault.output is None else pb.RunResponse(output=fault.output)


async def _abort(
    context: Context,
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


def _metadata(context: Context) -> dict[str, str]:
    pairs = context.invocation_metadata() or ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def _status_of(context: Context) -> str:
    code = context.code()
    named = {status.value[0]: status for status in grpc.StatusCode}
    return named[code].name if isinstance(code, int) else code.name


def _response(answer: Answer) -> pb.RunResponse:
    usage = answer.usage
    if usage is None:
        return pb.RunResponse(output=answer.output)
    return pb.RunResponse(
        output=answer.output,
        usage=pb.Usage(
            model=usage.model,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost_micros=usage.cost_micros,
            estimated=usage.estimated,
        ),
    )
