"""The form of a dead letter: the original record, byte for byte, and headers with the reason.

A dead letter keeps its origin's key, value, headers and partition. The added headers begin
with ``__dlq.``; their names follow Kafka Connect's error headers. Two aliases serve tools that
look for other names. ``docs/dead-letters.md`` describes them for their readers;
:mod:`schemas.dead_letter_record` reads them back.
"""

import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from msgspec import Struct

from schemas.headers import Headers, header_text

# UUIDv5 of the URL namespace and "ai-orchestrator/dead-letter".
_NAMESPACE = uuid.UUID("2eac8257-8728-5053-bb3d-24d13921230e")
# The headers must stay small beside the value: this is enough for the innermost frames.
STACKTRACE_MAX_BYTES = 8 * 1024
MESSAGE_MAX_BYTES = 1024

ID_HEADER = "__dlq.id"
"""The first of our headers: headers before its last occurrence are the original's."""
REPLAY_HEADERS = (
    "__dlq.replay.count",
    "__dlq.replay.of",
    "__dlq.replay.id",
    "__dlq.replay.by",
    "__dlq.replay.at",
)
"""The headers that a replay appends to the original ones, in this order."""

CUT_HEADERS = ("__dlq.cut.key.bytes", "__dlq.cut.value.bytes", "__dlq.cut.sha256")
"""In a letter that holds only a part of its record: the original sizes and the value's hash."""
BATCH_HEADER = "__dlq.batch.first.offset"
"""In a letter whose value is an unreadable batch: the offset of the batch's first record. The
offset of the letter is that of the last record."""


class Stage(StrEnum):
    """The stage at which processing failed."""

    DECODE = "decode"
    VALIDATE = "validate"
    ROUTE = "route"
    EXECUTE = "execute"
    PUBLISH = "publish"
    SINK = "sink"


class FailureClass(StrEnum):
    """The kind of failure: what an operator has to fix before a replay."""

    POISON = "POISON"
    PERMANENT = "PERMANENT"
    TRANSIENT_EXHAUSTED = "TRANSIENT_EXHAUSTED"
    TIMEOUT = "TIMEOUT"
    DEADLINE = "DEADLINE"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFault:
    """Why records could not be taken out of a fetched batch; the reader hands this over."""

    first_offset: int
    """The offset of the first record that it stands for; the origin has the offset of the last."""
    code: str
    message: str
    batch: bytes = field(repr=False)
    """The batch as the broker keeps it, or the bytes of one record in it."""


class Origin(Struct, frozen=True, kw_only=True):
    """A record as Kafka delivered it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    fault: FetchFault | None = None
    """None: an ordinary record. Otherwise this stands for records that could not be taken out of
    their batch: key and value are None, the headers are empty."""

    def __repr__(self) -> str:
        """Without key and value, which must not get into a log."""
        return f"Origin({self.topic}/{self.partition}@{self.offset}, fault={self.fault})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As ``repr``; rich would show every field."""
        return [("topic", self.topic), ("partition", self.partition), ("offset", self.offset)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a record is a dead letter. Texts that are too long are cut."""

    stage: Stage
    failure_class: FailureClass
    code: str
    message: str
    exception_class: str = ""
    stacktrace: str = ""
    delivery_count: int = 1
    task_id: str | None = None
    tenant_id: str | None = None
    step: str | None = None
    service: str | None = None
    traceparent: str | None = None
    """The trace in which processing failed; None: the trace that the record carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayMark:
    """The headers of a replayed record that describe its replay."""

    count: int
    """How often the record was replayed, including this time."""
    of: str
    """The id of the dead letter that was replayed."""
    replay_id: str
    """The id of the replay run."""
    by: str
    at_ms: int
    """Unix milliseconds, UTC."""


def dead_letter_id(origin: Origin, group: str) -> str:
    """The id of the dead letter that ``group`` makes of this record: always the same id.

    It is derived from the record's position, or from the record's own id (``ce_id``) if the
    position is unknown (offset -1).
    """
    place: int | str = origin.offset
    if origin.offset < 0:
        place = header_text(origin.headers, "ce_id") or origin.offset
    name = f"{group}\0{origin.topic}\0{origin.partition}\0{place}"
    return str(uuid.uuid5(_NAMESPACE, name))


def dead_letter_headers(origin: Origin, failure: Failure, *, group: str, now_ms: int) -> Headers:
    """The original headers, in their order, followed by ours.

    The original headers of a replayed record end with its :class:`ReplayMark`, so a dead
    letter carries the count of its replays, whichever process writes it.

    Args:
        origin: the record that could not be processed.
        failure: the reason.
        group: the consumer group that gave up.
        now_ms: Unix milliseconds, UTC.
    """
    trace = failure.traceparent or header_text(origin.headers, "traceparent")
    pairs: list[tuple[str, str | None]] = [
        (ID_HEADER, dead_letter_id(origin, group)),
        ("__dlq.errors.topic", origin.topic),
        ("__dlq.errors.partition", str(origin.partition)),
        ("__dlq.errors.offset", str(origin.offset)),
        ("__dlq.errors.group", group),
        ("__dlq.errors.delivery.count", str(failure.delivery_count)),
        ("__dlq.errors.message", _cut(failure.message, MESSAGE_MAX_BYTES)),
        ("__dlq.errors.exception.class.name", failure.exception_class),
        ("__dlq.errors.exception.stacktrace", _cut(failure.stacktrace, STACKTRACE_MAX_BYTES)),
        ("__dlq.errors.stage", failure.stage),
        ("__dlq.errors.class", failure.failure_class),
        ("__dlq.errors.code", failure.code),
        ("__dlq.errors.timestamp", str(now_ms)),
        ("__dlq.errors.original.timestamp", str(origin.timestamp_ms)),
        ("__dlq.task.id", failure.task_id or header_text(origin.headers, "ce_subject")),
        ("__dlq.tenant", failure.tenant_id or header_text(origin.headers, "ce_tenantid")),
        ("__dlq.step", failure.step or header_text(origin.headers, "ce_step")),
        ("__dlq.service", failure.service),
        ("__dlq.traceparent", trace),
        (BATCH_HEADER, None if origin.fault is None else str(origin.fault.first_offset)),
        ("x-original-topic", origin.topic),
        ("kafka_dlt-original-topic", origin.topic),
    ]
    ours = [(name, _encoded(value)) for name, value in pairs if value is not None]
    return [*origin.headers, *ours]


def replay_headers(original: Headers, mark: ReplayMark) -> Headers:
    """The headers of a replayed record: the original ones, then the mark."""
    values = (str(mark.count), mark.of, mark.replay_id, mark.by, str(mark.at_ms))
    ours = zip(REPLAY_HEADERS, map(_encoded, values), strict=True)
    return [*original, *ours]


def _cut(text: str, max_bytes: int) -> str:
    return _encoded(text)[:max_bytes].decode(errors="ignore")


def _encoded(text: str) -> bytes:
    # An error may quote hostile input: text that is not UTF-8 is escaped, not refused.
    return text.encode(errors="backslashreplace")
