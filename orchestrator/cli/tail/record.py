"""One record as ``tail`` shows it: decoded, with the values for filters. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from orchestrator.cli.output import json_text
from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.headers import header_text
from schemas.records import Record
from schemas.topics import Topic

_DLQ_ERRORS = "__dlq.errors."
_REASONS = ("code", "class", "stage", "topic", "partition", "offset", "group", "message")


@dataclass(frozen=True, slots=True)
class Shown:
    """A record and its facets; a facet is None if the record does not have it."""

    record: Origin
    value: Record | None
    """None: the value cannot be decoded, or its schema is unknown."""
    undecodable: str | None
    """Code and reason if the value cannot be decoded."""
    dead_letter: dict[str, str | None] | None
    """For a dead letter: the headers with the reason, by their short names."""
    ignored: bool = False
    """True: a former owner wrote it, so it does not count."""

    @property
    def task(self) -> str | None:
        """The task of the record."""
        return self._facet("task_id", "ce_subject", "__dlq.task.id")

    @property
    def tenant(self) -> str | None:
        """The tenant."""
        return self._facet("tenant_id", "ce_tenantid", "__dlq.tenant")

    @property
    def type(self) -> str | None:
        """The task's type, if the record holds it: `created` does, later events do not."""
        spec = getattr(self.value, "task", None)
        if spec is not None:
            return str(spec.type)
        return self._facet("type", "ce_tasktype")

    @property
    def step(self) -> str | None:
        """The step of the record."""
        step = getattr(self.value, "step", None)
        if isinstance(step, Record):
            return str(getattr(step, "name", None))
        return self._facet("step", "ce_step", "__dlq.step")

    @property
    def kind(self) -> str | None:
        """The kind of event or command: `completed`, `started`, `cancel` and so on."""
        kind = getattr(self.value, "kind", None)
        return None if kind is None else str(kind)

    def as_json(self) -> dict[str, Any]:
        """Ready for ``json.dumps``; bytes that are not text become hex."""
        record = self.record
        shown: dict[str, Any] = {
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp_ms,
            "key": _text(record.key),
            "headers": [[name, _text(value)] for name, value in record.headers],
        }
        if self.ignored:
            shown["ignored"] = True
        if self.dead_letter is not None:
            shown["dead_letter"] = self.dead_letter
        if self.value is not None:
            return shown | {"value": msgspec.to_builtins(self.value)}
        shown["value_hex"] = None if record.value is None else record.value.hex()
        return shown | ({"undecodable": self.undecodable} if self.undecodable else {})

    def as_text(self) -> str:
        """One JSON document on one line."""
        return json_text(self.as_json())

    @property
    def named(self) -> str:
        """The task, or the record's key without a task."""
        return self.task or _text(self.record.key) or ""

    @property
    def remark(self) -> str:
        """The reason of a dead letter or of a decoding error, or that the record is ignored."""
        code = self.dead_letter["code"] if self.dead_letter else self.undecodable
        return code or ("ignored" if self.ignored else "")

    def _facet(self, name: str, *headers: str) -> str | None:
        value = getattr(self.value, name, None)
        if isinstance(value, str) and value:
            return value
        found = (header_text(self.record.headers, header) for header in headers)
        return next((text for text in found if text), None)


@dataclass(slots=True)
class Filter:
    """The filter of ``tail``; an empty filter shows all records."""

    task: str | None = None
    type: str | None = None
    tenant: str | None = None
    step: str | None = None
    kind: str | None = None
    _types: dict[str, str] = field(default_factory=dict)
    """The type by task: events after `created` do not have it."""

    def wants(self, shown: Shown) -> bool:
        """True if the record is to be shown; call it for every record, in order."""
        kind = self._type_of(shown) if self.type else None
        wanted = (
            (self.task, shown.task),
            (self.type, kind),
            (self.tenant, shown.tenant),
            (self.step, shown.step),
            (self.kind, shown.kind),
        )
        return all(asked is None or asked == found for asked, found in wanted)

    def _type_of(self, shown: Shown) -> str | None:
        if shown.task is None:
            return shown.type
        if shown.type is not None:
            if len(self._types) >= _TYPES_MAX:
                self._types.pop(next(iter(self._types)))
            self._types[shown.task] = shown.type
        return self._types.get(shown.task)


_TYPES_MAX = 100_000


def show(record: Origin, topic: Topic, origin: Topic | None, *, ignored: bool = False) -> Shown:
    """Decode a record.

    Args:
        record: as it was read.
        topic: the topic that it was read from.
        origin: for a dead-letter topic, the topic whose records it holds.
        ignored: true if the acceptance rule ignores it.
    """
    dead_letter = None
    if topic.record is None:
        dead_letter = {n: header_text(record.headers, _DLQ_ERRORS + n) for n in _REASONS}
    kind = topic.record or (origin.record if origin else None)
    if kind is None:
        return Shown(record, None, None, dead_letter, ignored)
    try:
        return Shown(record, decode(record.value, kind), None, dead_letter, ignored)
    except DecodeError as error:
        return Shown(record, None, f"{error.code}: {error}", dead_letter, ignored)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")
