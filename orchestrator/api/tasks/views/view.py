"""The common part of all views. Documents are raw JSON, passed on unchanged; times are UTC."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from schemas.records import (
    Error,
    StepOutcome,
    TaskStatus,
    Usage,
)

Status = Literal["pending", "running", "completed", "failed", "cancelled"]


class View(Struct, frozen=True, kw_only=True):
    """Base of all answers."""


class ErrorView(View, frozen=True, kw_only=True):
    """Why a task or a step failed; ``code`` is stable."""

    code: str
    message: str
    category: str
    retriable: bool
    service: str | None = None
    step: str | None = None
    attempt: int | None = None


class UsageView(View, frozen=True, kw_only=True):
    """What calls consumed; ``cost_micros`` is integer micro-USD."""

    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    estimated: bool = False


def status_of(status: str) -> Status:
    """The status that callers know."""
    match status:
        case "running" | "completed" | "failed" | "cancelled" | "pending":
            return status
    return "running" if status == TaskStatus.UNKNOWN else "pending"


def error_view(error: Error | None, step: StepOutcome | None) -> ErrorView | None:
    """An error, with the step that it belongs to."""
    if error is None:
        return None
    return ErrorView(
        code=error.code,
        message=error.message,
        category=error.category,
        retriable=error.retriable,
        service=error.service,
        step=None if step is None else step.name,
        attempt=None if step is None else step.attempt,
    )


def usage_view(usage: Usage) -> UsageView:
    """Usage as callers see it."""
    return UsageView(
        model=usage.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_micros=usage.cost_micros,
        estimated=usage.estimated,
    )


def raw(text: str) -> Raw:
    """A document as it is; an empty text is null."""
    # A completed task whose owner dropped its documents has no text here.
    return Raw(text.encode() or b"null")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(millis: int) -> datetime:
    """A time, from Unix milliseconds."""
    return _EPOCH + timedelta(milliseconds=millis)


def time_or_none(millis: int | None) -> datetime | None:
    """As :func:`time_of`; None stays None."""
    return None if millis is None else time_of(millis)


def any_time(time: int | datetime | None) -> datetime | None:
    """A time of memory or of Postgres."""
    return time_of(time) if isinstance(time, int) else time


def between(start: int | None, end: int | None) -> int | None:
    """Milliseconds between two times; None if one is missing."""
    return None if start is None or end is None else end - start


def any_between(start: int | datetime | None, end: int | datetime | None) -> int | None:
    """As :func:`between`, of memory or of Postgres."""
    start, end = any_time(start), any_time(end)
    return (
        None if start is None or end is None else round((end - start) / timedelta(milliseconds=1))
    )


def converted(value: Any, kind: type[msgspec.Struct]) -> Any:
    """A value as a struct; None stays None."""
    return None if value is None else msgspec.convert(value, kind)
