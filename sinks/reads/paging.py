"""Which tasks a list shows, and where its next page begins. Pure.

A cursor is the position of one task in the order of its list, as text. It does not contain the
filter: the same filter has to be given with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from schemas.limits import ID_PATTERN, PRIORITY_MAX, PRIORITY_MIN
from sinks.errors import CursorError
from sinks.reads.stored import ListedTask

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """The filter of a list. A field that is None matches everything. Times have a zone."""

    status: str | None = None
    type: str | None = None
    tenant_id: str | None = None
    conversation_id: str | None = None
    since: datetime | None = None
    """Tasks that were created then or later."""
    until: datetime | None = None
    """Tasks that were created before."""


@dataclass(frozen=True, slots=True)
class NewestCursor:
    """A position in (created_at DESC, id DESC): ``n.<microseconds since 1970>.<id>``."""

    created_at: datetime
    id: str

    @classmethod
    def of(cls, task: ListedTask) -> NewestCursor:
        """The position of a task; the next page begins after it."""
        return cls(task.created_at, task.id)

    @classmethod
    def parse(cls, text: str) -> NewestCursor:
        """Read a cursor; ``CursorError`` if the text is not a cursor of this order."""
        try:
            mark, micros, task_id = text.split(".", 2)
            return cls(_time(micros), _id(task_id, mark == "n"))
        except (ValueError, OverflowError):
            raise CursorError(f"{text[:100]!a} is not a cursor of the order newest") from None

    def __str__(self) -> str:
        return f"n.{_micros(self.created_at)}.{self.id}"


@dataclass(frozen=True, slots=True)
class QueueCursor:
    """A position in (priority DESC, created_at, id): ``q.<priority>.<microseconds>.<id>``."""

    priority: int
    created_at: datetime
    id: str

    @classmethod
    def start(cls) -> QueueCursor:
        """Before every task: after a priority higher than any task's."""
        return cls(PRIORITY_MAX + 1, _EPOCH, "")

    @classmethod
    def of(cls, task: ListedTask) -> QueueCursor:
        """The position of a task; the next page begins after it."""
        return cls(task.priority, task.created_at, task.id)

    @classmethod
    def parse(cls, text: str) -> QueueCursor:
        """Read a cursor; ``CursorError`` if the text is not a cursor of this order."""
        try:
            mark, priority, micros, task_id = text.split(".", 3)
            known = mark == "q" and PRIORITY_MIN <= int(priority) <= PRIORITY_MAX
            return cls(int(priority), _time(micros), _id(task_id, known))
        except (ValueError, OverflowError):
            raise CursorError(f"{text[:100]!a} is not a cursor of the order queue") from None

    def __str__(self) -> str:
        return f"q.{self.priority}.{_micros(self.created_at)}.{self.id}"


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def _time(micros: str) -> datetime:
    return _EPOCH + int(micros) * _MICROSECOND


def _id(text: str, known: bool) -> str:
    if not known or not ID_PATTERN.fullmatch(text):
        raise ValueError(text)
    return text
