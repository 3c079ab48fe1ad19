"""The generic contract as JSON, for HTTP: one object each way, documents embedded as they are.

An answer is converted to a ``RunResponse`` message first, so that :mod:`agents.services.wire`
checks the answers of both transports.
"""

import msgspec
from msgspec import Raw, Struct

from agents.services.client import StepRequest
from schemas.gen.services.v1 import step_service_pb2 as pb


def encode(request: StepRequest) -> bytes:
    """Write the body of a request.

    Raises:
        ValueError: a field is not Unicode text, or the input is not JSON. The text of the
            error may quote the field.
    """
    text = request.input.encode()
    try:
        # The input is inserted unchanged: if it were not JSON, it could add fields of its own.
        msgspec.json.decode(text)
    except RecursionError as error:
        raise ValueError("the input is nested too deep") from error
    return msgspec.json.encode(
        _Request(
            method=request.method,
            input=Raw(text),
            task_id=request.task_id,
            run=request.run,
            step=request.step,
            attempt=request.attempt,
            tenant_id=request.tenant_id,
            conversation_id=request.conversation_id,
        )
    )


def decode(body: bytes) -> pb.RunResponse:
    """Read the body of an answer. Ranges are not checked yet.

    Raises:
        ValueError: the body breaks the contract. The error's text never quotes a value.
    """
    try:
        answer = msgspec.json.decode(body, type=_ReplyBody)
    except RecursionError as error:
        raise ValueError("the answer is nested too deep") from error
    return pb.RunResponse(
        output=_text(answer.output),
        usage=_usage(answer.usage),
        substeps=[_substep(substep) for substep in answer.substeps],
    )


def failure_of(body: bytes) -> tuple[str, str]:
    """The code and the message of a failed answer; empty strings if they are missing.

    Never raises, whatever the body is: the status alone decides what happens.
    """
    try:
        failed = msgspec.json.decode(body, type=_Failed)
    except (ValueError, RecursionError):
        return "", ""
    return failed.error.code, failed.error.message


class _Request(Struct):
    method: str
    input: Raw
    task_id: str
    run: int
    step: str
    attempt: int
    tenant_id: str
    conversation_id: str | None


class _Usage(Struct):
    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    estimated: bool = False


class _Error(Struct):
    code: str = ""
    message: str = ""
    category: str = ""
    retriable: bool = False
    service: str | None = None


class _SubStep(Struct):
    started_at: int
    name: str = ""
    status: str = ""
    input: Raw = Raw(b"{}")
    output: Raw = Raw(b"{}")
    error: _Error | None = None
    completed_at: int | None = None
    usage: _Usage | None = None


class _ReplyBody(Struct):
    output: Raw
    usage: _Usage | None = None
    substeps: list[_SubStep] = []


class _Failed(Struct):
    error: _Error


def _substep(substep: _SubStep) -> pb.SubStep:
    return pb.SubStep(
        name=substep.name,
        status=substep.status,
        input=_text(substep.input),
        output=_text(substep.output),
        error=_error(substep.error),
        started_at=substep.started_at,
        completed_at=substep.completed_at,
        usage=_usage(substep.usage),
    )


def _usage(usage: _Usage | None) -> pb.Usage | None:
    return None if usage is None else pb.Usage(**msgspec.structs.asdict(usage))


def _error(error: _Error | None) -> pb.Error | None:
    return None if error is None else pb.Error(**msgspec.structs.asdict(error))


def _text(document: Raw) -> str:
    return bytes(document).decode()
