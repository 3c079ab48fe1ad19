"""Reads dead letters back: the inverse of :mod:`schemas.dead_letter`. Pure; never raises.

Any record in a dead-letter topic is read as a :class:`DeadLetter`, whatever program wrote it. A
fact that is missing from its headers is taken from its value, and is empty if both lack it. Texts
are cut to the limits of the index; the record in the topic keeps them whole.
"""

import uuid
from dataclasses import dataclass, field
from typing import Any

from schemas.codec import decode
from schemas.dead_letter import (
    BATCH_HEADER,
    CUT_HEADERS,
    ID_HEADER,
    MESSAGE_MAX_BYTES,
    REPLAY_HEADERS,
    Origin,
)
from schemas.errors import DecodeError
from schemas.headers import Headers, header_text
from schemas.records import StepCommand, TaskEvent
from schemas.short_text import short_key, short_text
from schemas.topics import DLQ_PREFIX, Topics

_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1
_COUNT_MAX = 1_000_000
_TIME_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999, which every calendar can represent."""
# UUIDv5 of the URL namespace and "ai-orchestrator/foreign-dead-letter".
_FOREIGN = uuid.UUID("4ce771d1-8566-5335-9f46-0783daf784ef")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record of a dead-letter topic. Times are Unix milliseconds, UTC."""

    id: str
    topic: str
    """The topic in which the record failed: its origin, not the dead-letter topic."""
    partition: int
    offset: int
    original_at: int
    dlq_partition: int
    dlq_offset: int
    dead_lettered_at: int
    group: str
    stage: str
    failure_class: str
    code: str
    message: str
    exception: str
    stacktrace: str = field(repr=False)
    delivery_count: int
    task_id: str | None
    tenant_id: str | None
    task_type: str | None
    step: str | None
    service: str | None
    run: int | None
    """The task's run, in the letter of a step that failed for good."""
    traceparent: str | None
    replays: int
    """How often the record had been replayed when it failed, by its headers."""
    replay_of: str | None
    """The dead letter whose replay failed here."""
    whole: bool
    """False if the original record is not in the letter: it was cut, or could not be taken out of
    its batch. Such a letter cannot be replayed."""
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: tuple[tuple[str, bytes | None], ...] = field(repr=False)
    """The original headers: without ours, and without the mark of a replay."""

    @property
    def dlq_topic(self) -> str:
        """The dead-letter topic that holds the letter."""
        return DLQ_PREFIX + self.topic

    @property
    def of_step(self) -> bool:
        """True for a step that failed for good: its task can be retried."""
        return self.stage == "execute" and self.run is not None


def read_dead_letter(record: Origin, topics: Topics) -> DeadLetter:
    """Read a record of a dead-letter topic. Never fails."""
    carried, ours = _split(record.headers)
    original, mark = _without_mark(carried)
    said = _Said(ours)
    written_at = record.timestamp_ms if 0 <= record.timestamp_ms <= _TIME_MAX else 0
    topic = record.topic.removeprefix(DLQ_PREFIX)
    facts = _facts(record, original, topics.record_of(topic), said)
    return DeadLetter(
        id=said.key(ID_HEADER) or _foreign_id(record),
        topic=topic,
        partition=said.number("__dlq.errors.partition", record.partition, most=_INT32_MAX),
        offset=said.number("__dlq.errors.offset", -1),
        original_at=said.number("__dlq.errors.original.timestamp", written_at, most=_TIME_MAX),
        dlq_partition=record.partition,
        dlq_offset=record.offset,
        dead_lettered_at=said.number("__dlq.errors.timestamp", written_at, most=_TIME_MAX),
        group=said.key("__dlq.errors.group") or "",
        stage=said.key("__dlq.errors.stage") or "",
        failure_class=said.key("__dlq.errors.class") or "",
        code=said.key("__dlq.errors.code") or "",
        message=short_text(said.text("__dlq.errors.message") or "", MESSAGE_MAX_BYTES),
        exception=said.key("__dlq.errors.exception.class.name") or "",
        stacktrace=said.text("__dlq.errors.exception.stacktrace") or "",
        delivery_count=said.number("__dlq.errors.delivery.count", 1, most=_INT32_MAX),
        traceparent=said.key("__dlq.traceparent"),
        replays=_Said(mark).number("__dlq.replay.count", 0, most=_COUNT_MAX),
        replay_of=_Said(mark).key("__dlq.replay.of"),
        whole=said.text(CUT_HEADERS[0]) is None and said.text(BATCH_HEADER) is None,
        key=record.key,
        value=record.value,
        headers=tuple(original),
        **facts,
    )


class _Said:
    """Headers as text and numbers; a missing or malformed header becomes a default."""

    def __init__(self, headers: Headers) -> None:
        self._texts = {name: header_text([(name, value)], name) for name, value in headers}

    def text(self, name: str) -> str | None:
        # Neither a column of Postgres nor a terminal can hold NUL.
        text = self._texts.get(name)
        return None if text is None else text.replace("\0", "\\x00")

    def key(self, name: str) -> str | None:
        """A name or an id, cut to what an index can hold."""
        text = self.text(name)
        return None if text is None else short_key(text)

    def number(self, name: str, default: int, *, most: int = _INT64_MAX) -> int:
        text = self._texts.get(name) or ""
        plain = text.isascii() and text.isdigit() and len(text) < 20
        return int(text) if plain and int(text) <= most else default


def _split(headers: tuple[tuple[str, bytes | None], ...]) -> tuple[Headers, Headers]:
    """The original headers of the record, and the headers that dead-lettering added."""
    for place in range(len(headers) - 1, -1, -1):
        if headers[place][0] == ID_HEADER:
            return list(headers[:place]), list(headers[place:])
    return list(headers), []


def _without_mark(headers: Headers) -> tuple[Headers, Headers]:
    """Original headers, and the mark of the record's last replay, if any."""
    count = len(REPLAY_HEADERS)
    tail = headers[-count:]
    if tuple(name for name, _ in tail) == REPLAY_HEADERS:
        return headers[:-count], tail
    return headers, []


def _facts(
    record: Origin, original: Headers, record_type: type[Any] | None, said: _Said
) -> dict[str, Any]:
    """Task, tenant and type: from our headers, the value or its own headers, in this order."""
    value = _decoded(record, record_type)
    step = getattr(value, "step", None)
    event = isinstance(value, TaskEvent)
    spec = getattr(value, "task", None)
    facts = {
        "task_id": said.text("__dlq.task.id") or getattr(value, "task_id", None),
        "tenant_id": said.text("__dlq.tenant") or getattr(value, "tenant_id", None),
        "task_type": getattr(value, "type", None)
        or getattr(value, "pipeline", None)
        or getattr(spec, "type", None)
        or header_text(original, "ce_tasktype"),
        "step": said.text("__dlq.step") or (getattr(step, "name", None) if event else step),
        "service": said.text("__dlq.service") or getattr(value, "service", None),
    }
    known = {
        name: short_key(text.replace("\0", "\\x00")) if text else None
        for name, text in facts.items()
    }
    return {**known, "run": value.run if isinstance(value, StepCommand) else None}


def _decoded(record: Origin, record_type: type[Any] | None) -> Any:
    if record_type is None:
        return None
    try:
        return decode(record.value, record_type)
    except DecodeError:
        return None


def _foreign_id(record: Origin) -> str:
    """An id for a record that this system did not write: from its position in the topic."""
    return str(uuid.uuid5(_FOREIGN, f"{record.topic}\0{record.partition}\0{record.offset}"))
