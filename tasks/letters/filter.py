"""Which dead letters are meant: the filters of the command line. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import msgspec

from schemas.records import Json
from tasks.letters.known import KnownLetter

FIELDS: dict[str, Callable[[KnownLetter], str | None]] = {
    "topic": lambda known: known.letter.topic,
    "task": lambda known: known.letter.task_id,
    "tenant": lambda known: known.letter.tenant_id,
    "type": lambda known: known.letter.task_type,
    "step": lambda known: known.letter.step,
    "service": lambda known: known.letter.service,
    "stage": lambda known: known.letter.stage,
    "failure_class": lambda known: known.letter.failure_class,
    "code": lambda known: known.letter.code,
    "exception": lambda known: known.letter.exception,
    "status": lambda known: known.status.value,
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

    def matches(self, known: KnownLetter) -> bool:
        """True if the letter is meant."""
        at = known.letter.dead_lettered_at
        if self.since_ms is not None and at < self.since_ms:
            return False
        if self.until_ms is not None and at >= self.until_ms:
            return False
        if self.ids and not known.letter.id.startswith(self.ids):
            return False
        ownerless = self.ownerless and known.letter.tenant_id is None
        return all(
            not getattr(self, name)
            or value_of(known) in getattr(self, name)
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
