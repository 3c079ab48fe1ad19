"""Converts between our types and the contract's messages, and checks the contract.

Answers over HTTP are checked here too: :mod:`agents.services.json_wire` converts them first.
"""

from agents.services.client import StepRequest, StepResponse
from agents.services.failure import one_line
from schemas.gen.services.v1 import step_service_pb2 as pb
from schemas.records import Error, ErrorCategory, Json, Millis, SubStep, Usage


def encode(request: StepRequest) -> pb.RunRequest:
    """Build the message of a request.

    Raises:
        ValueError, TypeError: a field is not Unicode text, or exceeds 32 bits. The text of the
            error may quote the field.
    """
    return pb.RunRequest(
        method=request.method,
        input=request.input,
        task_id=request.task_id,
        run=request.run,
        step=request.step,
        attempt=request.attempt,
        tenant_id=request.tenant_id,
        conversation_id=request.conversation_id,
    )


def decode(answer: pb.RunResponse | None) -> StepResponse:
    """Read an answer; text is made harmless, the JSON documents are left as they are.

    Args:
        answer: None is what grpc.aio returns for bytes that are not a ``RunResponse``.

    Raises:
        ValueError: no answer, or a count or a time out of range; the answer cannot be used.
    """
    if answer is None:
        raise ValueError("the answer is not a RunResponse")
    return StepResponse(
        output=Json(answer.output),
        usage=_usage(answer.usage) if answer.HasField("usage") else None,
        substeps=[_substep(substep) for substep in answer.substeps],
    )


def _usage(usage: pb.Usage) -> Usage:
    return Usage(
        model=one_line(usage.model) if usage.HasField("model") else None,
        input_tokens=_within("usage.input_tokens", usage.input_tokens, _COUNT_MAX),
        output_tokens=_within("usage.output_tokens", usage.output_tokens, _COUNT_MAX),
        cost_micros=_within("usage.cost_micros", usage.cost_micros, _COUNT_MAX),
        estimated=usage.estimated,
    )


def _substep(substep: pb.SubStep) -> SubStep:
    return SubStep(
        name=one_line(substep.name),
        status=one_line(substep.status),
        input=Json(substep.input or "{}"),
        output=Json(substep.output or "{}"),
        error=_substep_error(substep.error) if substep.HasField("error") else None,
        started_at=_time("substep.started_at", substep.started_at),
        completed_at=_time("substep.completed_at", substep.completed_at)
        if substep.HasField("completed_at")
        else None,
        usage=_usage(substep.usage) if substep.HasField("usage") else None,
    )


def _substep_error(error: pb.Error) -> Error:
    known = error.category in ErrorCategory.__members__.values()
    return Error(
        code=one_line(error.code),
        message=one_line(error.message),
        category=ErrorCategory(error.category) if known else ErrorCategory.UNKNOWN,
        retriable=error.retriable,
        service=one_line(error.service) if error.HasField("service") else None,
    )


def _time(name: str, value: int) -> Millis:
    return Millis(_within(name, value, _TIME_MAX_MS))


def _within(name: str, value: int, highest: int) -> int:
    if not 0 <= value <= highest:
        raise ValueError(f"{name} is {value}; it must be 0 to {highest}")
    return value


# Far above any real value, and the sum over all steps of a task still fits into 64 bits.
_COUNT_MAX = 10**15
_TIME_MAX_MS = 253_402_300_799_999  # the last millisecond of the year 9999
