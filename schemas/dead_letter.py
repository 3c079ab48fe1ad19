"""The form of a dead letter: the original record, byte for byte, and headers that say why.

A dead letter keeps its origin's key, value, headers and partition. What is added are
headers that begin with ``__dlq.``; their names follow Kafka Connect's error headers. Two
aliases serve tools that look for other names.
"""

import uuid
from dataclasses import dataclass, field
from enum import StrEnum

from schemas.headers import Headers

# UUIDv5 of the URL namespace and "ai-orchestrator/dead-letter".
_NAMESPACE = uuid.UUID("2eac8257-8728-5053-bb3d-24d13921230e")
# A header block must stay small beside the value: enough for the innermost frames.
STACKTRACE_MAX_BYTES = 8 * 1024
MESSAGE_MAX_BYTES = 1024


class Stage(StrEnum):
    """Where processing failed."""

    DECODE = "decode"
    VALIDATE = "validate"
    ROUTE = "route"
    EXECUTE = "execute"
    PUBLISH = "publish"
    SINK = "sink"


class FailureClass(StrEnum):
    """What kind of failure: what an operator has to mend before a replay."""

    POISON = "POISON"
    PERMANENT = "PERMANENT"
    TRANSIENT_EXHAUSTED = "TRANSIENT_EXHAUSTED"
    TIMEOUT = "TIMEOUT"
    DEADLINE = "DEADLINE"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A record as Kafka gave it to us."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: tuple[tuple[str, bytes | None], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a record is a dead letter. Texts that do not fit are cut."""

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


def dead_letter_id(origin: Origin, group: str) -> str:
    """The id of the dead letter that ``group`` makes of this record: always the same one."""
    name = f"{group}\0{origin.topic}\0{origin.partition}\0{origin.offset}"
    return str(uuid.uuid5(_NAMESPACE, name))


def dead_letter_headers(origin: Origin, failure: Failure, *, group: str, now_ms: int) -> Headers:
    """The original headers, in their order, followed by ours.

    Args:
        origin: the record that could not be processed.
        failure: why.
        group: the consumer group that gave up.
        now_ms: Unix milliseconds, UTC.
    """
    pairs: list[tuple[str, str | None]] = [
        ("__dlq.id", dead_letter_id(origin, group)),
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
        ("__dlq.task.id", failure.task_id),
        ("__dlq.tenant", failure.tenant_id),
        ("__dlq.step", failure.step),
        ("__dlq.service", failure.service),
        ("x-original-topic", origin.topic),
        ("kafka_dlt-original-topic", origin.topic),
    ]
    ours = [(name, _encoded(value)) for name, value in pairs if value is not None]
    return [*origin.headers, *ours]


def _cut(text: str, max_bytes: int) -> str:
    return _encoded(text)[:max_bytes].decode(errors="ignore")


def _encoded(text: str) -> bytes:
    # An error may quote hostile input: what is not UTF-8 is shown, never refused.
    return text.encode(errors="backslashreplace")
