"""Which dead letters are meant: the filters of the command line. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import msgspec

from schemas.records import Json
from tasks.letters.bench import Case

FIELDS: dict[str, Callable[[Case], str | None]] = {
    "topic": lambda case: case.letter.topic,
    "task": lambda case: case.letter.task_id,
    "tenant": lambda case: case.letter.tenant_id,
    "type": lambda case: case.letter.task_type,
    "step": lambda case: case.letter.step,
    "service": lambda case: case.letter.service,
    "stage": lambda case: case.letter.stage,
    "failure_class": lambda case: case.letter.failure_class,
    "code": lambda case: case.letter.code,
    "exception": lambda case: case.letter.exception,
    "status": lambda case: case.status.value,
}
"""What can be filtered and counted by, and where it is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """A letter must match every field that is given, by any of its values. Empty: all."""

    ids: tuple[str, ...] = ()
    """Whole ids, or beginnings of at least 8 characters."""
    topic: tuple[str, ...] = ()
    task: tuple[str, ...] = ()
    tenant: tuple[str, ...] = ()
    ownerless: bool = False
    """With ``tenant``: also letters whose tenant nobody knows."""
    type: tuple[str, ...] = ()
    step: tuple[str, ...] = ()
    service: tuple[str, ...] = ()
    stage: tuple[str, ...] = ()
    failure_class: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    exception: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    since_ms: int | None = None
    """Dead-lettered at or after this Unix time in milliseconds."""
    until_ms: int | None = None
    """Dead-lettered before it."""

    def matches(self, case: Case) -> bool:
        """True if the letter is meant."""
        at = case.letter.dead_lettered_at
        if self.since_ms is not None and at < self.since_ms:
            return False
        if self.until_ms is not None and at >= self.until_ms:
            return False
        if self.ids and not case.letter.id.startswith(self.ids):
            return False
        ownerless = self.ownerless and case.letter.tenant_id is None
        return all(
            not getattr(self, name)
            or value_of(case) in getattr(self, name)
            or (name == "tenant" and ownerless)
            for name, value_of in FIELDS.items()
        )

    def as_json(self) -> Json:
        """What was given, for the record of an action."""
        given = {
            item.name: value
            for item in fields(self)
            if (value := getattr(self, item.name)) != item.default
        }
        return Json(msgspec.json.encode(given).decode())
