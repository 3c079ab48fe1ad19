"""Rows that an unchanged schema accepts whatever else is stored. Pure.

After a row was refused, a writer writes these and rolls them back. If they are refused as well,
the tables were changed so that they refuse every row, and the row is not at fault. If they are
accepted, the row is bad.

- One half has the largest values that the rules of the system allow (ids of 64 characters), the
  other half the smallest (every optional column null). A narrowed column and a new NOT NULL
  refuse one of the two.
- They come in pairs that differ only in values that are unique by design: ids, keys, and
  positions in the log. A new unique index refuses the second row of a pair.
- Their values are ours: a stranger's record has no influence on the answer. If an added
  reference or rule forbids our values, the names of a stored task are tried instead.
"""

import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from schemas.records import Json, Millis, TaskId
from sinks.columns import ChangeRow, LogRow, RefusalRow, StepRow, TaskRow
from sinks.counts.measures import MEASURES
from sinks.counts.row import CountRow
from sinks.letters.rows import LetterRow, StateRow
from sinks.row_sql import columns_of
from sinks.rows import Batch
from sinks.schema.month import month_of

R = TypeVar("R", TaskRow, ChangeRow, StepRow)

_LONG = "known-good-".ljust(64, "x")
"""The maximum length of an id."""
_TEXT = "known good"
_JSON = Json('{"known":"good"}')
_COUNT = 2**31
"""More than four bytes: a bigint column that was narrowed refuses it."""
_LATER = 100
"""The first offset of the later events."""
PARTITION = 2**31 - 1
"""No log has this many partitions: the rows cannot meet a stored position."""


class Names(NamedTuple):
    """The names in a task's rows that come from outside: known good ones, or a stored task's."""

    type: str = _LONG
    tenant_id: str = _LONG
    conversation_id: str | None = None
    user_id: str | None = None
    pipeline: str = _LONG
    pipeline_version: int = 1
    step: str = _LONG
    service: str = _LONG


def known_good_batches(at: Millis, names: Names = Names()) -> tuple[Batch, Batch]:  # noqa: B008
    """Two batches, one after the other: tasks that begin, and later events of these tasks.

    Args:
        at: the time of all rows, and so of their month partitions.
        names: the names of a stored task, if they are to be tried.

    Raises:
        ValueError: ``at`` is outside of the calendar.
    """
    ids = [TaskId(f"known-good-{uuid.uuid4()}".ljust(64, "x")) for _ in range(4)]
    tasks = [_bare_task(ids[0], at), _bare_task(ids[1], at)]
    tasks += [_full_task(ids[2], at), _full_task(ids[3], at)]
    tasks = [replace(task, event_offset=number) for number, task in enumerate(tasks)]
    tasks = [_named(task, names) for task in tasks]
    steps = [_bare_step(ids[0]), _bare_step(ids[1])]
    steps += [_full_step(ids[2], at), _full_step(ids[3], at)]
    steps = [
        replace(step, step=names.step, service=names.service, tenant_id=names.tenant_id)
        for step in steps
    ]
    begun = _batch(at, begun=tasks, steps=steps, logs=_logs(ids, at, 0, names))
    later = _batch(
        at,
        changed=[_bare_change(ids[0], at), _full_change(ids[2], at)],
        refused=[
            RefusalRow(id=ids[1], sequence=2, event_offset=_LATER),
            RefusalRow(id=ids[3], sequence=2, event_offset=_LATER + 1),
        ],
        steps=[replace(step, event_offset=_LATER) for step in steps],
        logs=_logs(ids, at, len(ids), names),
    )
    return begun, later


def known_good_counts(names: Names = Names()) -> list[CountRow]:  # noqa: B008
    """Counts of every metric: with the longest labels, and with the names of a stored task."""
    stored = {"type": names.type, "pipeline": names.pipeline, "tenant_id": names.tenant_id}
    stored |= {"step": names.step, "service": names.service}
    return [
        CountRow(
            log_partition=PARTITION,
            metric=measure.name,
            labels=Json(
                msgspec.json.encode(
                    {label: stored.get(label, _LONG) for label in measure.labels}
                ).decode()
            ),
            bucket=_COUNT,
            events=_COUNT,
            total=Decimal(_COUNT) ** 3,
        )
        for measure in MEASURES
    ]


def known_good_letters() -> list[LetterRow]:
    """Two pairs of letters of the dead-letter index, bare and full."""
    bare = LetterRow(
        id="",
        topic=_TEXT,
        origin_partition=0,
        origin_offset=-1,
        original_at=0,
        dlq_partition=0,
        dlq_offset=0,
        dead_lettered_at=0,
        consumer_group="",
        stage="",
        failure_class="",
        code="",
        message="",
        exception="",
        delivery_count=1,
        carried_replays=0,
    )
    texts = ("consumer_group", "stage", "failure_class", "code", "message", "exception")
    names = ("task_id", "tenant_id", "task_type", "step", "service", "traceparent", "replay_of")
    texts_and_names: dict[str, Any] = dict.fromkeys((*texts, *names), _LONG)
    full = replace(bare, **texts_and_names, run=1, origin_offset=_COUNT)
    return [
        replace(row, id=f"known-good-{uuid.uuid4()}", dlq_offset=number)
        for number, row in enumerate((bare, bare, full, full))
    ]


def known_good_states(letters: Sequence[LetterRow]) -> list[StateRow]:
    """The states of these letters."""
    bare = StateRow(
        id="",
        status="open",
        status_reason="",
        status_by="",
        status_at=0,
        replays=0,
        mended=False,
        action_offset=0,
    )
    full = replace(
        bare,
        status="discarded",
        status_reason=_LONG,
        status_by=_LONG,
        replay_id=_LONG,
        sent_topic=_LONG,
        sent_partition=0,
        sent_offset=_COUNT,
        sha256=_LONG,
        mended=True,
    )
    rows = (bare, bare, full, full)
    return [replace(row, id=letter.id) for row, letter in zip(rows, letters, strict=True)]


def _batch(
    at: Millis,
    *,
    begun: Sequence[TaskRow] = (),
    changed: Sequence[ChangeRow] = (),
    refused: Sequence[RefusalRow] = (),
    steps: Sequence[StepRow],
    logs: Sequence[LogRow],
) -> Batch:
    return Batch(
        begun=tuple(begun),
        changed=tuple(changed),
        refused=tuple(refused),
        steps=tuple(steps),
        logs=tuple(logs),
        months=frozenset([month_of(at)]),
    )


def _named(task: TaskRow, names: Names) -> TaskRow:
    return replace(
        task,
        type=names.type,
        tenant_id=names.tenant_id,
        conversation_id=names.conversation_id or task.conversation_id,
        user_id=names.user_id or task.user_id,
        pipeline=names.pipeline,
        pipeline_version=names.pipeline_version,
    )


def _bare_task(task_id: TaskId, at: Millis) -> TaskRow:
    return TaskRow(
        id=task_id,
        type=_LONG,
        status="pending",
        phase="queued",
        priority=0,
        tenant_id=_LONG,
        input=_JSON,
        metadata=_JSON,
        created_at=at,
        updated_at=at,
        deadline_at=at,
        pipeline=_LONG,
        pipeline_version=1,
        run=1,
        sequence=1,
        input_tokens=0,
        output_tokens=0,
        cost_micros=0,
        usage_estimated=False,
        event_partition=PARTITION,
        event_offset=1,
        born_offset=1,
    )


def _full_task(task_id: TaskId, at: Millis) -> TaskRow:
    ended = {"status": "completed", "phase": "completed", "priority": 10}
    return _full(_bare_task(task_id, at), at, **ended, idempotency_key=task_id, **_ERROR, **_USAGE)


def _bare_change(task_id: TaskId, at: Millis) -> ChangeRow:
    return ChangeRow(
        id=task_id,
        status="failed",
        phase="failed",
        priority=10,
        run=1,
        steps_changed=True,
        updated_at=at,
        sequence=2,
        event_offset=_LATER + 2,
    )


def _full_change(task_id: TaskId, at: Millis) -> ChangeRow:
    ended = {"status": "cancelled", "phase": "cancelled", "event_offset": _LATER + 3}
    return _full(_bare_change(task_id, at), at, **ended, **_ERROR, **_USAGE)


def _bare_step(task_id: TaskId) -> StepRow:
    return StepRow(
        task_id=task_id,
        run=1,
        step=_LONG,
        attempt=1,
        step_index=0,
        tenant_id=_LONG,
        command_id=f"{task_id}/1/{_LONG}/1",
        service=_LONG,
        status="retry_scheduled",
        event_offset=1,
    )


def _full_step(task_id: TaskId, at: Millis) -> StepRow:
    fixed = {"lane": "normal", "substeps": Json("[]")}
    return _full(_bare_step(task_id), at, **fixed, **_ERROR, **_USAGE)


def _full(row: R, at: Millis, **named: Any) -> R:
    """The row with a value in every column that is null, and with the given ones."""
    filled = {
        column.name: at if column.type.is_time else _VALUES[column.type.name]
        for column in columns_of(type(row))
        if getattr(row, column.name) is None
    }
    return replace(row, **{**filled, **named})


def _logs(ids: Sequence[TaskId], at: Millis, first: int, names: Names) -> list[LogRow]:
    return [
        LogRow(
            task_id=task_id,
            event_type="command_refused",
            event_data=_JSON,
            created_at=at,
            tenant_id=names.tenant_id,
            actor=None if number % 2 else _LONG,
            log_partition=PARTITION,
            event_offset=_COUNT + first + number,
        )
        for number, task_id in enumerate(ids)
    ]


_ERROR: dict[str, Any] = {"error_message": _TEXT, "error_category": "downstream"}
_VALUES: dict[str, Any] = {
    "text": _LONG,
    "jsonb": _JSON,
    "integer": 1,
    "bigint": _COUNT,
    "boolean": True,
}
_USAGE: dict[str, Any] = {
    "usage_model": _LONG,
    "input_tokens": _COUNT,
    "output_tokens": _COUNT,
    "cost_micros": _COUNT,
    "usage_estimated": True,
}
