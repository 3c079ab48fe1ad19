"""What follows an answer of a model that may call tools. Pure: no I/O, no clock.

The loop is: ask the model, run the tools that it calls, give it their results, ask again. It
ends with an answer without calls, or when the model has been asked as often as allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from agents.services.models.tools.declaration import ToolDeclaration
from agents.services.models.tools.growing_calls import CalledTool
from agents.services.models.tools.tool_set import ArgumentsError, ToolSet

CALLS_MAX = 8
"""The most calls of one answer that are run; the model is told so for further ones."""

RESULT_MAX_CHARS = 8_000
"""What a model is shown of the result of one call."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is the output of the step."""


@dataclass(frozen=True, slots=True)
class TooManyIterations:
    """The model calls tools once more, and nobody would read the results."""


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call of the model, and what is done about it."""

    number: int
    """From 1 within the attempt: a part of the call's idempotency key."""
    called: CalledTool
    tool: ToolDeclaration | None
    """None: nothing is run, and the model gets ``refusal``."""
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class RunTools:
    """Run these, one after the other, and ask the model again."""

    calls: tuple[PlannedCall, ...]


NextMove = Finished | TooManyIterations | RunTools


def next_move(
    called: Sequence[CalledTool],
    tools: ToolSet,
    *,
    iteration: int,
    max_iterations: int,
    calls_before: int,
) -> NextMove:
    """What follows an answer.

    Args:
        called: the tools that the answer calls.
        tools: those of the step.
        iteration: how often the model was asked, this answer included.
        max_iterations: how often it may be asked.
        calls_before: how many calls earlier answers had.

    Raises:
        PromptError: the schema of a tool has a reference that leads nowhere.
    """
    if not called:
        return Finished()
    if iteration >= max_iterations:
        return TooManyIterations()
    planned = []
    for place, one in enumerate(called, 1):
        number = calls_before + place
        if place > CALLS_MAX:
            refusal = f"not run: one answer may call {CALLS_MAX} tools"
            planned.append(PlannedCall(number, one, None, refusal))
            continue
        try:
            planned.append(PlannedCall(number, one, tools.checked(one.name, one.arguments)))
        except ArgumentsError as error:
            planned.append(PlannedCall(number, one, None, str(error)))
    return RunTools(tuple(planned))


def key_of(attempt_key: str, call: PlannedCall) -> str:
    """The idempotency key of a call: that of the attempt, the number, and what is called.

    The same attempt that is made again (its worker died) calls with the same keys as long as
    the model makes the same calls. A model may decide otherwise, so the key says what is called:
    a service must not take one call for another.
    """
    content = f"{call.called.name}\n{call.called.arguments}".encode(errors="surrogatepass")
    return f"{attempt_key}/tool/{call.number}/{sha256(content).hexdigest()[:16]}"


def asked_message(text: str, calls: Sequence[PlannedCall]) -> dict[str, Any]:
    """The answer of the model as a message of the next request.

    Ids are ours: some servers send none, or one twice.
    """
    return {
        "role": "assistant",
        "content": text,
        "tool_calls": [
            {
                "id": id_of(call),
                "type": "function",
                "function": {"name": call.called.name, "arguments": call.called.arguments},
            }
            for call in calls
        ],
    }


def result_message(call: PlannedCall, result: str) -> dict[str, Any]:
    """The result of a call as a message of the next request, cut to ``RESULT_MAX_CHARS``."""
    return {"role": "tool", "tool_call_id": id_of(call), "content": shown(result)}


def id_of(call: PlannedCall) -> str:
    """The id of a call towards the model."""
    return f"call_{call.number}"


def shown(result: str) -> str:
    """A result as a model sees it: its beginning, and that the rest is missing."""
    if len(result) <= RESULT_MAX_CHARS:
        return result
    return f"{result[:RESULT_MAX_CHARS]}… (cut: {len(result)} characters)"
