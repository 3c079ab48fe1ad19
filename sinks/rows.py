"""Turns accepted events into rows. Pure.

The sink keeps no state of tasks, so each column is derived from the events of the batch, or kept
by SQL. Events of one task in one batch are folded first, because one statement cannot change a
row twice; the fold equals that of :mod:`tasks.apply`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from schemas.records import EventKind, TaskEvent, TaskId
from sinks.attempt_fold import AttemptsFold
from sinks.audit import event_data
from sinks.columns import ChangeRow, LogRow, RefusalRow, StepRow, TaskRow
from sinks.schema.month import month_of
from sinks.task_fold import TaskFold


@dataclass(frozen=True, slots=True)
class LogEvent:
    """An accepted event and its position in ``task-events``."""

    partition: int
    offset: int
    event: TaskEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The rows of some events of one log partition. A task is in one of the first three fields."""

    begun: tuple[TaskRow, ...]
    changed: tuple[ChangeRow, ...]
    refused: tuple[RefusalRow, ...]
    steps: tuple[StepRow, ...]
    logs: tuple[LogRow, ...]
    months: frozenset[date]
    """The months whose partitions must exist."""

    def tasks(self) -> list[TaskId]:
        """The tasks whose rows these are."""
        begun = [row.id for row in self.begun]
        return begun + [row.id for row in self.changed] + [row.id for row in self.refused]


def project(events: Sequence[LogEvent]) -> Batch:
    """Convert events of one log partition, in the log's order, to rows.

    Markers make no rows. Projecting a log in one batch or in many gives the same tables.

    Raises:
        ValueError: an event has a time outside of the calendar; it fails alone, too.
    """
    tasks: dict[TaskId, TaskFold] = {}
    attempts: dict[TaskId, AttemptsFold] = {}
    logs: list[LogRow] = []
    for logged in events:
        event = logged.event
        if event.kind is EventKind.OWNERSHIP_TAKEN:
            continue
        if event.task_id not in tasks or event.kind is EventKind.CREATED:
            tasks[event.task_id] = TaskFold(event.task_id, logged.partition)
            attempts[event.task_id] = AttemptsFold()
        tasks[event.task_id].apply(event, logged.offset)
        attempts[event.task_id].apply(event, logged.offset)
        logs.append(_log_row(logged))
    rows = [fold.row() for fold in tasks.values()]
    begun = tuple(row for row in rows if isinstance(row, TaskRow))
    return Batch(
        begun=begun,
        changed=tuple(row for row in rows if isinstance(row, ChangeRow)),
        refused=tuple(row for row in rows if isinstance(row, RefusalRow)),
        steps=tuple(row for fold in attempts.values() for row in fold.rows()),
        logs=tuple(logs),
        months=frozenset(
            map(month_of, [row.created_at for row in begun] + [row.created_at for row in logs])
        ),
    )


def joined(batches: Sequence[Batch]) -> Batch:
    """The rows of batches of different log partitions, to be written in one transaction.

    Raises:
        ValueError: a task is in two of them, so that a statement would change a row twice.
            Our logs do not cause this, as an id has one partition; write each batch by itself.
    """
    if len(batches) == 1:
        return batches[0]
    tasks = [task for each in batches for task in each.tasks()]
    if len(set(tasks)) < len(tasks):
        raise ValueError("a task is in two partitions")
    return Batch(
        begun=tuple(row for each in batches for row in each.begun),
        changed=tuple(row for each in batches for row in each.changed),
        refused=tuple(row for each in batches for row in each.refused),
        steps=tuple(row for each in batches for row in each.steps),
        logs=tuple(row for each in batches for row in each.logs),
        months=frozenset[date]().union(*(each.months for each in batches)),
    )


def _log_row(logged: LogEvent) -> LogRow:
    event = logged.event
    return LogRow(
        task_id=event.task_id,
        event_type=event.kind.value,
        event_data=event_data(event),
        created_at=event.occurred_at,
        tenant_id=event.tenant_id,
        actor=event.actor,
        log_partition=logged.partition,
        event_offset=logged.offset,
    )
