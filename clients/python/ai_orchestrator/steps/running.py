"""Runs one call of a step, whatever the transport: from the input's JSON to an answer."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import msgspec

from ai_orchestrator.steps.call import Call, Substep, UsageReport
from ai_orchestrator.steps.declaring import Declared, Form, Steps
from ai_orchestrator.steps.documents import read_input, write_output
from ai_orchestrator.steps.failure import CallFailedError, Cancelled, Kind, Refused, TryAgain

OnChunk = Callable[[str], None]
"""Takes a piece of the growing answer, on the event loop."""

_log = logging.getLogger("ai_orchestrator.steps")


@dataclass(frozen=True, slots=True)
class Output:
    """The output of an async generator, yielded as its last value; it cannot return one."""

    value: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful call."""

    output: bytes
    """JSON."""
    usage: UsageReport | None
    substeps: tuple[Substep, ...]
    """Their input and output are JSON, too, as ``msgspec.Raw``."""


async def answer_call(
    steps: Steps, call: Call, text: bytes | str, *, executor: Executor, on_chunk: OnChunk
) -> Answer:
    """Run one call.

    A plain function runs in a thread of ``executor``, an ``async`` one on the event loop, which
    it must not block. When the caller's time is over, the call is cancelled. Cancellation of
    this coroutine cancels the step; a plain function sees it in ``call.cancelled``.

    Args:
        steps: finds the function by ``call.method``.
        call: what the step may know.
        text: the input, JSON.
        executor: the threads for plain functions.
        on_chunk: gets what generators yield.

    Raises:
        CallFailedError: there is no answer. An unexpected exception of the step is logged, and its
            text stays here.
    """
    declared = steps.get(call.method)
    if declared is None:
        known = ", ".join(steps.names)
        raise CallFailedError(
            Kind.METHOD, "METHOD_UNKNOWN", f"no step of this name; steps: {known}"
        )
    try:
        async with asyncio.timeout(call.remaining_s):
            value = await _value(declared, call, text, executor, on_chunk)
        output = write_output(value)
        usage, substeps = call.reported()
        return Answer(output, usage, tuple(_written(substep) for substep in substeps))
    except CallFailedError:
        raise
    except Exception as error:
        raise _failed(call, error) from error
    finally:
        call.cancel()


def _written(substep: Substep) -> Substep:
    given, came = (msgspec.Raw(write_output(value)) for value in (substep.input, substep.output))
    return msgspec.structs.replace(substep, input=given, output=came)


def _failed(call: Call, error: Exception) -> CallFailedError:
    match error:
        case Refused():
            return CallFailedError(Kind.INPUT, error.code, str(error))
        case TryAgain():
            kind = Kind.BUSY if error.busy else Kind.LATER
            return CallFailedError(kind, error.code, str(error), error.after_s)
        case Cancelled() | TimeoutError() if call.cancelled:
            return CallFailedError(Kind.LATE, "TIME_IS_OVER", "the time of the call is over")
    _log.error("step %s raised, task %s", call.method, call.task_id, exc_info=error)
    return CallFailedError(Kind.BROKEN, "STEP_RAISED", f"the step raised {type(error).__name__}")


async def _value(
    declared: Declared, call: Call, text: bytes | str, executor: Executor, on_chunk: OnChunk
) -> Any:
    given: dict[str, Any] = {}
    if declared.input_name is not None:
        given[declared.input_name] = read_input(text, declared.input_type)
    if declared.call_name is not None:
        given[declared.call_name] = call
    match declared.form:
        case Form.ASYNC:
            return await declared.function(**given)
        case Form.ASYNC_GENERATOR:
            return await _drained(declared.function(**given), on_chunk)
    loop = asyncio.get_running_loop()

    def emit(chunk: str) -> None:
        loop.call_soon_threadsafe(on_chunk, chunk)

    return await loop.run_in_executor(executor, _in_a_thread, declared, given, call, emit)


def _in_a_thread(declared: Declared, given: dict[str, Any], call: Call, emit: OnChunk) -> Any:
    # It may have waited for a thread for longer than its caller did.
    call.check()
    if declared.form is Form.PLAIN:
        return declared.function(**given)
    chunks: list[str] = []
    generator = declared.function(**given)
    while True:
        try:
            chunk = next(generator)
        except StopIteration as end:
            return _whole(chunks) if end.value is None else end.value
        if call.cancelled:
            generator.close()
            call.check()
        emit(_chunk(chunk))
        chunks.append(chunk)


async def _drained(generator: Any, on_chunk: OnChunk) -> Any:
    chunks: list[str] = []
    try:
        async for item in generator:
            if isinstance(item, Output):
                return item.value
            on_chunk(_chunk(item))
            chunks.append(item)
    finally:
        await generator.aclose()
    return _whole(chunks)


def _chunk(item: object) -> str:
    if not isinstance(item, str):
        raise TypeError("a step yields text, and an async one its Output last")
    return item


def _whole(chunks: list[str]) -> dict[str, str]:
    return {"text": "".join(chunks)}
