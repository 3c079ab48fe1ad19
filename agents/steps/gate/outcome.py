"""What the result of a call says about its service. Pure."""

from __future__ import annotations

from enum import StrEnum

from agents.services.failure import ACCESS_DENIED, OVERLOADED
from agents.services.models.refusals import PROMPT_INVALID
from schemas.records import ErrorCategory, ResultKind, StepResult


class Outcome(StrEnum):
    """How a call ended, as the breaker and the throttle distinguish it."""

    ANSWERED = "answered"
    """The service did its work, or refused the input."""
    FAILED = "failed"
    """The service is down, broken or too slow: another attempt may succeed."""
    THROTTLED = "throttled"
    """The service refused the call because there are too many."""
    UNKNOWN = "unknown"
    """Nothing is known about the service: a cancel, a deadline, a fault of this process, a prompt
    that was not sent, a tool that a model called, or a credential that an operator has to
    replace."""


def outcome_of(result: StepResult | None, *, service: str, whole_time: bool) -> Outcome:
    """Classify the result of a call.

    Args:
        service: of the step. An error of another one is that of a tool.
        result: None: the call was aborted with its process.
        whole_time: whether the service had the time that its pipeline gives it. Less is the
            choice of who created the task: it must not stop the service for others.
    """
    if result is None or result.kind is ResultKind.CANCELLED:
        return Outcome.UNKNOWN
    error = result.error
    if error is None:
        return Outcome.ANSWERED
    if error.service not in (None, service):
        return Outcome.UNKNOWN
    if error.code == OVERLOADED.code:
        return Outcome.THROTTLED
    if error.code in _SAYS_NOTHING or error.category in _OURS:
        return Outcome.UNKNOWN
    if error.category is ErrorCategory.TIMEOUT:
        return Outcome.FAILED if error.retriable and whole_time else Outcome.UNKNOWN
    return Outcome.FAILED if error.retriable else Outcome.ANSWERED


_SAYS_NOTHING = (ACCESS_DENIED.code, PROMPT_INVALID.code)
_OURS = (ErrorCategory.INTERNAL, ErrorCategory.POISON)
"""The service was not called, or this process is at fault."""
