"""The rows of the dead-letter index. Pure."""

from typing import Any

from msgspec import Struct

from schemas.dead_letter_record import DeadLetter
from schemas.short_text import short_key, short_text
from sinks.errors import SinkRowError
from sinks.row_sql import Integer, UnixMillis
from tasks.letters.ledger import LetterState, LetterStatus, Target

_REASON_MAX_BYTES = 4096


class LetterRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The columns that describe a letter."""

    id: str
    topic: str
    origin_partition: Integer
    origin_offset: int
    original_at: UnixMillis
    dlq_partition: Integer
    dlq_offset: int
    dead_lettered_at: UnixMillis
    consumer_group: str
    stage: str
    failure_class: str
    code: str
    message: str
    exception: str
    delivery_count: Integer
    task_id: str | None = None
    tenant_id: str | None = None
    task_type: str | None = None
    step: str | None = None
    service: str | None = None
    run: Integer | None = None
    traceparent: str | None = None
    carried_replays: Integer
    replay_of: str | None = None


class StateRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The columns that hold a letter's state."""

    id: str
    status: str
    status_reason: str
    status_by: str
    status_at: UnixMillis
    replays: Integer
    replay_id: str | None = None
    sent_topic: str | None = None
    sent_partition: Integer | None = None
    sent_offset: int | None = None
    sha256: str | None = None
    mended: bool
    action_offset: int


def letter_row(letter: DeadLetter) -> LetterRow:
    """The row of a letter."""
    return LetterRow(
        id=letter.id,
        topic=letter.topic,
        origin_partition=letter.partition,
        origin_offset=letter.offset,
        original_at=letter.original_at,
        dlq_partition=letter.dlq_partition,
        dlq_offset=letter.dlq_offset,
        dead_lettered_at=letter.dead_lettered_at,
        consumer_group=letter.group,
        stage=letter.stage,
        failure_class=letter.failure_class,
        code=letter.code,
        message=letter.message,
        exception=letter.exception,
        delivery_count=letter.delivery_count,
        task_id=letter.task_id,
        tenant_id=letter.tenant_id,
        task_type=letter.task_type,
        step=letter.step,
        service=letter.service,
        run=letter.run,
        traceparent=letter.traceparent,
        carried_replays=letter.replays,
        replay_of=letter.replay_of,
    )


def state_row(letter_id: str, state: LetterState, action_offset: int) -> StateRow:
    """The row of a state after the action at this offset of ``dlq-actions``."""
    return StateRow(
        id=index_key(letter_id),
        status=state.status.value,
        status_reason=short_text(_plain(state.reason), _REASON_MAX_BYTES),
        status_by=index_key(state.actor),
        status_at=state.at,
        replays=state.replays,
        replay_id=_optional(state.replay_id),
        sent_topic=None if state.sent is None else index_key(state.sent.topic),
        sent_partition=None if state.sent is None else state.sent.partition,
        sent_offset=None if state.sent is None else state.sent.offset,
        sha256=_optional(state.sha256),
        mended=state.mended,
        action_offset=action_offset,
    )


def stub_row(row: LetterRow) -> LetterRow:
    """The row of a letter with only its position, for a letter that Postgres refuses.

    Only its id comes from outside, so the letter is listed; its contents are in its topic.
    """
    return LetterRow(
        id=row.id,
        topic=row.topic,
        origin_partition=row.dlq_partition,
        origin_offset=-1,
        original_at=0,
        dlq_partition=row.dlq_partition,
        dlq_offset=row.dlq_offset,
        dead_lettered_at=0,
        consumer_group="",
        stage="",
        failure_class="",
        code=SinkRowError.code,
        message="the index cannot hold this letter: read it in its topic",
        exception="",
        delivery_count=1,
        carried_replays=0,
    )


def stored_state(row: Any) -> LetterState:
    """The state of a row, without the fields that only the ledger keeps (intent, edited value)."""
    sent = None
    if row["sent_topic"] is not None:
        sent = Target(row["sent_topic"], row["sent_partition"], row["sent_offset"])
    return LetterState(
        status=LetterStatus(row["status"]),
        reason=row["status_reason"],
        actor=row["status_by"],
        at=row["status_at"] or 0,
        replays=row["replays"],
        replay_id=row["replay_id"],
        sent=sent,
        sha256=row["sha256"],
        mended=row["mended"],
    )


def stored_letter(row: Any) -> DeadLetter:
    """The letter of a row, without the fields that the index does not hold: key, value, headers."""
    given: dict[str, Any] = {name: row[name] for name in _AS_THEY_ARE}
    return DeadLetter(
        **given,
        partition=row["origin_partition"],
        offset=row["origin_offset"],
        group=row["consumer_group"],
        replays=row["carried_replays"],
        stacktrace="",
        # Not in the index; a replay reads the letter from its topic.
        whole=True,
        key=None,
        value=None,
        headers=(),
    )


_AS_THEY_ARE = (
    *("id", "topic", "original_at", "dlq_partition", "dlq_offset", "dead_lettered_at", "stage"),
    *("failure_class", "code", "message", "exception", "delivery_count", "task_id", "tenant_id"),
    *("task_type", "step", "service", "run", "traceparent", "replay_of"),
)


def index_key(text: str) -> str:
    """The id or the name of an action, as the index stores it."""
    # A writer of the ledger may write NUL, which Postgres cannot hold, and any length.
    return short_key(_plain(text))


def _optional(text: str | None) -> str | None:
    return None if text is None else index_key(text)


def _plain(text: str) -> str:
    return text.replace("\0", "\\x00")
