"""A task with its history: every attempt of every run, and its events. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from orchestrator.api.replica.live_task import Folded
from orchestrator.api.tasks.views.event import EventView, event_view, stored_event
from orchestrator.api.tasks.views.task import (
    StepView,
    TaskView,
    accepted_view,
    live_view,
    step_view,
    stored_view,
)
from schemas.records import TaskCreated, TaskEvent
from sinks.columns import StepRow
from sinks.reads.stored import StoredLog, StoredStep, StoredTask

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """One attempt of a step, and how it was dispatched."""

    step: StepView
    lane: str | None
    worker: str | None
    dispatched_at: datetime | None
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHistory:
    """The known facts about a task."""

    task: TaskView
    request_id: str | None
    attempts: Sequence[PastAttempt] = ()
    events: Sequence[EventView] = ()
    source: Literal["log", "postgres", "task-created"]


def history_of_creation(record: TaskCreated) -> TaskHistory:
    """The history of a task that its owner has not decided yet."""
    return TaskHistory(
        task=accepted_view(record), request_id=record.idempotency_key, source="task-created"
    )


def history_of_log(folded: Folded, events: Sequence[TaskEvent]) -> TaskHistory:
    """The history from all events of a life, and from their fold."""
    return TaskHistory(
        task=live_view(folded),
        request_id=folded.task.spec.idempotency_key,
        attempts=_attempts(folded.attempts),
        events=[event_view(event) for event in events],
        source="log",
    )


def history_of_rows(
    task: StoredTask, steps: Sequence[StoredStep], logs: Sequence[StoredLog]
) -> TaskHistory:
    """The history from the sink's rows; ``logs`` are those of the current life."""
    return TaskHistory(
        task=stored_view(task),
        request_id=task.idempotency_key,
        attempts=_attempts(steps),
        events=[stored_event(log, task.output) for log in logs],
        source="postgres",
    )


def _attempts(rows: Iterable[StepRow | StoredStep]) -> list[PastAttempt]:
    found = list(rows)
    inputs = {(row.run, row.step): row.input for row in found if row.input is not None}
    in_order = sorted(found, key=lambda row: (row.run, row.step_index, row.step, row.attempt))
    return [
        PastAttempt(
            step=step_view(row, inputs.get((row.run, row.step))),
            lane=row.lane,
            worker=row.worker,
            dispatched_at=_time(row.dispatched_at),
            next_attempt_at=_time(row.next_attempt_at),
        )
        for row in in_order
    ]


def _time(time: datetime | int | None) -> datetime | None:
    return _EPOCH + timedelta(milliseconds=time) if isinstance(time, int) else time
