"""Events, chunks and the audit trail as callers see them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, field

from orchestrator.api.tasks.views.view import (
    ErrorView,
    Status,
    UsageView,
    View,
    converted,
    error_view,
    raw,
    status_of,
    time_of,
    time_or_none,
    usage_view,
)
from schemas.records import (
    DispatchedStep,
    Error,
    EventKind,
    StepOutcome,
    StreamChunk,
    TaskEvent,
    Usage,
)
from sinks.reads.stored import StoredLog


class StepEventView(View, frozen=True, kw_only=True):
    """The attempt that an event is about."""

    name: str
    service: str
    attempt: int
    status: str
    error: ErrorView | None = None
    usage: UsageView | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    next_attempt_at: datetime | None = None


class DispatchedView(View, frozen=True, kw_only=True):
    """An attempt that follows from an event."""

    name: str
    service: str
    attempt: int


class EventView(View, frozen=True, kw_only=True, tag="event"):
    """One event of a task; ``sequence`` has no gaps. Steps' documents are in the task."""

    task_id: str
    sequence: int
    kind: str
    run: int
    status: Status
    phase: str
    priority: int
    occurred_at: datetime
    step: StepEventView | None = None
    output: Raw | None = None
    """Only in ``completed``: the output of the task."""
    error: ErrorView | None = None
    usage: UsageView | None = None
    actor: str | None = None
    reason: str | None = None
    dispatched: list[DispatchedView] = field(default_factory=list)


class ChunkView(View, frozen=True, kw_only=True, tag="chunk"):
    """A part of a growing answer, or progress: best effort, without a sequence."""

    task_id: str
    run: int
    step: str
    attempt: int
    index: int
    kind: str
    data: str


class LaggedView(View, frozen=True, kw_only=True, tag="lagged"):
    """The reader was too slow: this number of chunks was dropped. Events are never dropped."""

    task_id: str
    chunks: int


class HeartbeatView(View, frozen=True, kw_only=True, tag="heartbeat"):
    """Nothing happened for a while; the stream is still open."""

    task_id: str


StreamItem = EventView | ChunkView | LaggedView | HeartbeatView
"""The items of a stream, the same over SSE, WebSocket and gRPC."""


class LogView(View, frozen=True, kw_only=True):
    """An entry of the audit trail."""

    id: int
    event_type: str
    event_data: Raw
    created_at: datetime
    actor: str | None


class LogPage(View, frozen=True, kw_only=True):
    """A page of an audit trail."""

    logs: list[LogView]
    next_page_token: str | None = None


def event_view(event: TaskEvent) -> EventView:
    """An event from memory or the log."""
    completed = event.kind is EventKind.COMPLETED and event.output is not None
    return EventView(
        task_id=event.task_id,
        sequence=event.sequence,
        kind=event.kind,
        run=event.run,
        status=status_of(event.status),
        phase=event.phase,
        priority=event.priority,
        occurred_at=time_of(event.occurred_at),
        step=_step_event(event.step),
        output=raw(event.output or "") if completed else None,
        error=error_view(event.error, event.step),
        usage=None if event.usage is None else usage_view(event.usage),
        actor=event.actor,
        reason=event.reason,
        dispatched=[_dispatched(step) for step in event.dispatched],
    )


def stored_event(row: StoredLog, output: str | None) -> EventView:
    """An event from the audit trail; ``output`` is the output of the task."""
    data: dict[str, Any] = msgspec.json.decode(row.event_data)
    step = converted(data.get("step"), StepOutcome)
    usage = converted(data.get("usage"), Usage)
    sent = data.get("dispatched") or ()
    completed = row.event_type == EventKind.COMPLETED and output is not None
    return EventView(
        task_id=row.task_id,
        sequence=data["sequence"],
        kind=row.event_type,
        run=data["run"],
        status=status_of(data["status"]),
        phase=data["phase"],
        priority=data["priority"],
        occurred_at=row.created_at,
        step=_step_event(step),
        output=raw(output or "") if completed else None,
        error=error_view(converted(data.get("error"), Error), step),
        usage=None if usage is None else usage_view(usage),
        actor=row.actor,
        reason=data.get("reason"),
        dispatched=[_dispatched(converted(step, DispatchedStep)) for step in sent],
    )


def last_life(rows: Iterable[StoredLog]) -> list[StoredLog]:
    """The rows since the last ``created``: an id may have been used before."""
    life: list[StoredLog] = []
    for row in rows:
        if row.event_type == EventKind.CREATED:
            life = []
        life.append(row)
    return life


def chunk_view(chunk: StreamChunk) -> ChunkView:
    """A chunk as the worker sent it."""
    return ChunkView(
        task_id=chunk.task_id,
        run=chunk.run,
        step=chunk.step,
        attempt=chunk.attempt,
        index=chunk.index,
        kind=chunk.kind,
        data=chunk.data,
    )


def log_view(row: StoredLog) -> LogView:
    """An entry of the audit trail."""
    return LogView(
        id=row.id,
        event_type=row.event_type,
        event_data=raw(row.event_data),
        created_at=row.created_at,
        actor=row.actor,
    )


def _dispatched(step: DispatchedStep) -> DispatchedView:
    return DispatchedView(name=step.step, service=step.service, attempt=step.attempt)


def _step_event(step: StepOutcome | None) -> StepEventView | None:
    if step is None:
        return None
    return StepEventView(
        name=step.name,
        service=step.service,
        attempt=step.attempt,
        status=step.status,
        error=error_view(step.error, None),
        usage=None if step.usage is None else usage_view(step.usage),
        started_at=time_or_none(step.started_at),
        completed_at=time_or_none(step.completed_at),
        next_attempt_at=time_or_none(step.next_attempt_at),
    )
