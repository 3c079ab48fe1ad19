"""Reads arguments of commands. A wrong one is reported in a sentence; the exit status is 2."""

import getpass
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer

from schemas.errors import InvalidRecordError
from schemas.json_text import check_text
from schemas.limits import ID_PATTERN, PRIORITY_MAX, PRIORITY_MIN
from schemas.records import Json, Millis, TaskId

_PRIORITIES = {"low": 0, "normal": 5, "high": 10}
_SPAN = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DOCUMENT_MAX_BYTES = 16 * 1024 * 1024
"""Size of a file or of standard input: admission's own limit is far below, and names its code."""


def document(text: str) -> Json:
    """A JSON document: the text itself, ``@file``, or ``-`` for standard input.

    Checks only that it is text; admission checks whether it is JSON.
    """
    try:
        if text == "-":
            raw = sys.stdin.buffer.read(_DOCUMENT_MAX_BYTES)
        elif text.startswith("@"):
            with Path(text[1:]).open("rb") as file:
                raw = file.read(_DOCUMENT_MAX_BYTES)
        else:
            raw = text.encode()
        return Json(raw.decode())
    except OSError as error:
        raise typer.BadParameter(f"{text!r} cannot be read: {error.strerror}") from None
    except ValueError:
        raise typer.BadParameter(f"{text[:64]!a} is not UTF-8 text") from None


def read_text(file: Path) -> str:
    """The text of a file that an argument names; ``-`` is standard input."""
    try:
        return sys.stdin.buffer.read().decode() if str(file) == "-" else file.read_text("utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise typer.BadParameter(f"{file} is not UTF-8 text") from None


def priority(text: str) -> int:
    """A priority 0 to 10, or ``low`` (0), ``normal`` (5), ``high`` (10)."""
    if text in _PRIORITIES:
        return _PRIORITIES[text]
    if not re.fullmatch(r"[0-9]{1,2}", text) or not PRIORITY_MIN <= int(text) <= PRIORITY_MAX:
        raise typer.BadParameter(
            f"{text!r} is neither {PRIORITY_MIN} to {PRIORITY_MAX} nor low, normal, high"
        )
    return int(text)


def time(text: str) -> datetime:
    """A time in the past: a day or a time (RFC 3339), or how long ago, as in ``30m`` or ``2h``."""
    return _time(text, sign=-1)


def deadline(text: str) -> datetime:
    """A time to come: a day or a time (RFC 3339), or how long from now, as in ``30m`` or ``2h``."""
    return _time(text, sign=1)


_WHILE_IT_IS_READ = timedelta(seconds=1)


def whole_days(text: str) -> datetime:
    """As :func:`time`, in days and at least one day ago: for actions that cannot be undone."""
    if _SPAN.fullmatch(text) and not text.endswith("d"):
        raise typer.BadParameter(f"{text!r} must be days or a day, as in 400d or 2026-05-01")
    moment = time(text)
    if moment > datetime.now(UTC) - timedelta(days=1) + _WHILE_IT_IS_READ:
        raise typer.BadParameter(f"{text!r} must be at least one day ago, as in 400d")
    return moment


def _time(text: str, *, sign: int) -> datetime:
    """UTC, unless the text names its offset."""
    try:
        if span := _SPAN.fullmatch(text):
            return datetime.now(UTC) + sign * timedelta(**{_UNITS[span[2]]: int(span[1])})
        given = datetime.fromisoformat(text)
        return (given if given.tzinfo else given.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is not a time like 30m, 2h, 2026-05-01 or 2026-05-01T12:30:00+02:00"
        ) from None


def millis(moment: datetime) -> Millis:
    """Unix milliseconds of a time."""
    return Millis(int(moment.timestamp() * 1000))


def task_id(text: str) -> TaskId:
    """A task's id."""
    if not ID_PATTERN.fullmatch(text):
        raise typer.BadParameter(f"{text!a} is not an id; ids match {ID_PATTERN.pattern}")
    return TaskId(text)


def words(text: str) -> str:
    """A text that Kafka's readers and Postgres can keep: no NUL, no half characters."""
    try:
        check_text(text, "the text")
    except InvalidRecordError as error:
        raise typer.BadParameter(str(error)) from None
    return text


def check_reason(*, execute: bool, reason: str) -> None:
    """Require a reason for an action that cannot be undone; BadParameter without one."""
    if execute and not reason.strip():
        raise typer.BadParameter("--execute needs --reason TEXT")


def default_actor() -> str:
    """The actor if ``--actor`` is not given: ``cli:`` and the name of the account."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli:unknown"
