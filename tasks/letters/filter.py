"""Which dead letters are selected: the filters of the command line. Pure."""

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
"""The fields for filters and counts, and how to get each from a letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """A letter must match every given field, by any of the field's values. Empty: all letters."""

    ids: tuple[str, ...] = ()
    """Whole ids, or the first characters of ids, at least 8."""
    topic: tuple[str, ...] = ()
    task: tuple[str, ...] = ()
    tenant: tuple[str, ...] = ()
    ownerless: bool = False
    """With ``tenant``: also letters without a known tenant."""
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
    """Dead-lettered before this Unix time in milliseconds."""

    def matches(self, known: KnownLetter) -> bool:
        """True if the letter is selected."""
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
        """The fields that were given, for the record of an action."""
        given = {
            item.name: value
            for item in fields(self)
            if (value := getattr(self, item.name)) != item.default
        }
        return Json(msgspec.json.encode(given).decode())
