"""Makes a worker's report about an attempt safe to store and consistent in time.

A report may hold anything that its schema allows. Its output matters to the task, and
:mod:`tasks.deciding.reported` checks it; the other fields are notes for people, so they are
repaired here rather than refused.
"""

import re

from schemas.errors import InvalidRecordError
from schemas.json_text import compact, parse_value
from schemas.records import Error, ErrorCategory, Json, Millis, SubStep, Usage

INT64_MAX = 2**63 - 1
MESSAGE_MAX_CHARS = 2000
NAME_MAX_CHARS = 200
SUBSTEPS_MAX = 200
"""Further substeps are cut. An agent makes ten by default; each adds some hundred bytes to an
event."""

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


def storable(text: str, *, max_chars: int) -> str:
    """The text cut to a length, with a mark in place of characters that cannot be stored."""
    cut = text[:max_chars].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return cut.encode("utf-8", "replace").decode()


def storable_or_none(text: str | None, *, max_chars: int) -> str | None:
    """As :func:`storable`; None if the text is absent or empty."""
    return storable(text, max_chars=max_chars) if text else None


def storable_error(error: Error | None, *, service: str) -> Error:
    """An error with a well-formed code and category, even if the report has no error."""
    given = error or Error(message="the worker gave no reason")
    unknown = given.category is ErrorCategory.UNKNOWN
    return Error(
        code=given.code if _CODE.fullmatch(given.code) else "STEP_FAILED",
        message=storable(given.message, max_chars=MESSAGE_MAX_CHARS),
        category=ErrorCategory.DOWNSTREAM if unknown else given.category,
        retriable=given.retriable,
        service=storable_or_none(given.service, max_chars=NAME_MAX_CHARS) or service,
    )


def storable_usage(usage: Usage) -> Usage:
    """Usage without negative counts."""
    return Usage(
        model=storable_or_none(usage.model, max_chars=NAME_MAX_CHARS),
        input_tokens=max(usage.input_tokens, 0),
        output_tokens=max(usage.output_tokens, 0),
        cost_micros=max(usage.cost_micros, 0),
        estimated=usage.estimated,
    )


def added(total: Usage, usage: Usage | None) -> Usage:
    """The sum of two usages, each count at most a ``long``, with the later model's name."""
    if usage is None:
        return total
    return Usage(
        model=usage.model or total.model,
        input_tokens=min(total.input_tokens + usage.input_tokens, INT64_MAX),
        output_tokens=min(total.output_tokens + usage.output_tokens, INT64_MAX),
        cost_micros=min(total.cost_micros + usage.cost_micros, INT64_MAX),
        estimated=total.estimated or usage.estimated,
    )


def storable_substeps(
    substeps: list[SubStep], *, service: str, until: Millis, max_bytes: int
) -> list[SubStep]:
    """The first ``SUBSTEPS_MAX`` substeps, each made storable.

    A document that cannot be stored becomes ``{"omitted": code}``; times lie between 1970
    and ``until``.
    """
    return [
        SubStep(
            name=storable(substep.name, max_chars=NAME_MAX_CHARS),
            status=storable(substep.status, max_chars=NAME_MAX_CHARS),
            input=_document(substep.input, max_bytes),
            output=_document(substep.output, max_bytes),
            error=storable_error(substep.error, service=service) if substep.error else None,
            started_at=between(Millis(0), substep.started_at, until),
            completed_at=_between_or_none(substep.completed_at, until),
            usage=storable_usage(substep.usage) if substep.usage else None,
        )
        for substep in substeps[:SUBSTEPS_MAX]
    ]


def between(earliest: Millis, time: Millis, latest: Millis) -> Millis:
    """The time, moved into bounds: a worker's clock cannot place a call before its command."""
    return max(earliest, min(time, latest))


def _between_or_none(time: Millis | None, latest: Millis) -> Millis | None:
    return None if time is None else between(Millis(0), time, latest)


def _document(text: Json, max_bytes: int) -> Json:
    try:
        parse_value(text, what="document", max_bytes=max_bytes)
    except InvalidRecordError as error:
        return compact({"omitted": error.code})
    return text
