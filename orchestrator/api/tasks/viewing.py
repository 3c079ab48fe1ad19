"""Tasks, steps and events as callers see them: equal whether from memory or from Postgres."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw

from orchestrator.api.replica.live_task import Folded
from orchestrator.api.tasks.views import (
    ChunkView,
    DispatchedView,
    ErrorView,
    EventView,
    LogView,
    Status,
    StepEventView,
    StepView,
    TaskSummary,
    TaskView,
    UsageView,
)
from schemas.records import (
    DispatchedStep,
    Error,
    EventKind,
    StepOutcome,
    StreamChunk,
    TaskCreated,
    TaskEvent,
    TaskStatus,
    Usage,
)
from sinks.columns import StepRow
from sinks.reads.stored import ListedTask, StoredLog, StoredStep, StoredTask
from tasks.task import Phase

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _StoredStep(msgspec.Struct, frozen=True):
    """An element of ``tasks.steps``. (msgspec has no optional raw JSON: null is raw, too.)"""

    id: str
    name: str
    service: str
    run: int
    attempt: int
    status: str
    input: Raw
    output: Raw
    error: ErrorView | None
    usage: UsageView | None
    substeps: Raw
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: int | None


_decode_steps = msgspec.json.Decoder(list[_StoredStep]).decode

# --- tasks ---


def accepted_view(record: TaskCreated) -> TaskView:
    """A task that its owner has not read yet."""
    created_at = _time(record.created_at)
    return TaskView(
        id=record.task_id,
        type=record.type,
        status="pending",
        phase=Phase.ACCEPTED,
        priority=record.priority,
        conversation_id=record.conversation_id,
        user_id=record.user_id,
        tenant_id=record.tenant_id,
        input=_raw(record.input),
        metadata=_raw(record.metadata),
        created_at=created_at,
        updated_at=created_at,
        sequence=0,
        pipeline_version=record.pipeline_version,
    )


def live_view(folded: Folded, earlier: Sequence[StoredStep] = ()) -> TaskView:
    """A task in memory; ``earlier`` are attempts that memory may not know."""
    task, spec = folded.task, folded.task.spec
    return TaskView(
        id=spec.task_id,
        type=spec.type,
        status=_status(task.status),
        phase=task.phase,
        priority=task.priority,
        conversation_id=spec.conversation_id,
        user_id=spec.user_id,
        tenant_id=spec.tenant_id,
        input=_raw(spec.input),
        output=None if task.output is None else _raw(task.output),
        steps=_steps(folded, earlier),
        metadata=_raw(spec.metadata),
        created_at=_time(task.created_at),
        updated_at=_time(task.updated_at),
        started_at=_time_or_none(task.started_at),
        completed_at=_time_or_none(task.completed_at),
        duration_ms=_between(task.started_at, task.completed_at),
        deadline_at=_time(task.deadline_at),
        error=_error(task.error, folded.failed_step),
        usage=_usage(task.usage),
        sequence=task.sequence,
        run=task.run,
        pipeline=spec.pipeline,
        pipeline_version=spec.pipeline_version,
    )


def stored_view(row: StoredTask) -> TaskView:
    """A task in Postgres."""
    error = None
    if row.error_code is not None:
        error = ErrorView(
            code=row.error_code,
            message=row.error_message or "",
            category=row.error_category or "",
            retriable=bool(row.error_retriable),
            service=row.error_service,
            step=row.error_step,
            attempt=row.error_attempt,
        )
    return TaskView(
        id=row.id,
        type=row.type,
        status=_status(row.status),
        phase=row.phase,
        priority=row.priority,
        conversation_id=row.conversation_id,
        user_id=row.user_id,
        tenant_id=row.tenant_id,
        input=_raw(row.input),
        output=None if row.output is None else _raw(row.output),
        steps=[_stored_step(step) for step in _decode_steps(row.steps)],
        metadata=_raw(row.metadata),
        created_at=row.created_at,
        updated_at=row.updated_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        duration_ms=row.duration_ms,
        deadline_at=row.deadline_at,
        error=error,
        usage=UsageView(
            model=row.usage_model,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cost_micros=row.cost_micros,
            estimated=row.usage_estimated,
        ),
        sequence=row.sequence,
        run=row.run,
        pipeline=row.pipeline,
        pipeline_version=row.pipeline_version,
    )


def summary(row: ListedTask) -> TaskSummary:
    """A task in a list."""
    return TaskSummary(**{name: getattr(row, name) for name in TaskSummary.__struct_fields__})


# --- steps ---


def _steps(folded: Folded, earlier: Sequence[StoredStep]) -> list[StepView]:
    """The last attempt of each step, in the pipeline's order, as SQL's ``steps_of``."""
    rows: dict[tuple[int, str, int], StepRow | StoredStep] = {}
    rows.update(((row.run, row.step, row.attempt), row) for row in earlier)
    rows.update(((row.run, row.step, row.attempt), row) for row in folded.attempts)
    run = folded.task.run
    present = [row.step_index for row in rows.values() if row.run == run]
    begun_at = min(present, default=None)
    last: dict[str, StepRow | StoredStep] = {}
    for key in sorted(rows, key=lambda key: (key[0], key[2])):
        if key[0] <= run:
            last[key[1]] = rows[key]
    shown = [
        row
        for row in last.values()
        if row.run == run or begun_at is None or row.step_index < begun_at
    ]
    inputs = {(row.run, row.step): row.input for row in rows.values() if row.attempt == 1}
    shown.sort(key=lambda row: (row.step_index, row.step))
    return [step_view(row, inputs.get((row.run, row.step))) for row in shown]


def step_view(row: StepRow | StoredStep, first_input: str | None) -> StepView:
    """An attempt; its input is taken from the first attempt, the only one that carries it."""
    given = row.input if row.input is not None else first_input
    error = None
    if row.error_code is not None:
        error = ErrorView(
            code=row.error_code,
            message=row.error_message or "",
            category=row.error_category or "",
            retriable=bool(row.error_retriable),
            service=row.error_service,
        )
    return StepView(
        id=row.command_id,
        name=row.step,
        service=row.service,
        run=row.run,
        attempt=row.attempt,
        status=row.status,
        input=None if given is None else _raw(given),
        output=None if row.output is None else _raw(row.output),
        error=error,
        usage=_step_usage(row),
        substeps=_raw(row.substeps or "[]"),
        started_at=_any_time(row.started_at),
        completed_at=_any_time(row.completed_at),
        duration_ms=_any_between(row.started_at, row.completed_at),
    )


def _stored_step(step: _StoredStep) -> StepView:
    fields = {name: getattr(step, name) for name in StepView.__struct_fields__}
    for name in ("input", "output"):
        if bytes(fields[name]) == b"null":
            fields[name] = None
    return StepView(**fields)


def _step_usage(row: StepRow | StoredStep) -> UsageView | None:
    if row.input_tokens is None:
        return None
    return UsageView(
        model=row.usage_model,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens or 0,
        cost_micros=row.cost_micros or 0,
        estimated=bool(row.usage_estimated),
    )


# --- events ---


def event_view(event: TaskEvent) -> EventView:
    """An event from memory or the log."""
    completed = event.kind is EventKind.COMPLETED and event.output is not None
    return EventView(
        task_id=event.task_id,
        sequence=event.sequence,
        kind=event.kind,
        run=event.run,
        status=_status(event.status),
        phase=event.phase,
        priority=event.priority,
        occurred_at=_time(event.occurred_at),
        step=_step_event(event.step),
        output=_raw(event.output or "") if completed else None,
        error=_error(event.error, event.step),
        usage=None if event.usage is None else _usage(event.usage),
        actor=event.actor,
        reason=event.reason,
        dispatched=[_dispatched(step) for step in event.dispatched],
    )


def stored_event(row: StoredLog, output: str | None) -> EventView:
    """An event from the audit trail; ``output`` is the output of the task."""
    data: dict[str, Any] = msgspec.json.decode(row.event_data)
    step = _convert(data.get("step"), StepOutcome)
    usage = _convert(data.get("usage"), Usage)
    sent = data.get("dispatched") or ()
    completed = row.event_type == EventKind.COMPLETED and output is not None
    return EventView(
        task_id=row.task_id,
        sequence=data["sequence"],
        kind=row.event_type,
        run=data["run"],
        status=_status(data["status"]),
        phase=data["phase"],
        priority=data["priority"],
        occurred_at=row.created_at,
        step=_step_event(step),
        output=_raw(output or "") if completed else None,
        error=_error(_convert(data.get("error"), Error), step),
        usage=None if usage is None else _usage(usage),
        actor=row.actor,
        reason=data.get("reason"),
        dispatched=[_dispatched(_convert(step, DispatchedStep)) for step in sent],
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
        event_data=_raw(row.event_data),
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
        error=_error(step.error, None),
        usage=None if step.usage is None else _usage(step.usage),
        started_at=_time_or_none(step.started_at),
        completed_at=_time_or_none(step.completed_at),
        next_attempt_at=_time_or_none(step.next_attempt_at),
    )


# --- parts ---


def _status(status: str) -> Status:
    match status:
        case "running" | "completed" | "failed" | "cancelled" | "pending":
            return status
    return "running" if status == TaskStatus.UNKNOWN else "pending"


def _error(error: Error | None, step: StepOutcome | None) -> ErrorView | None:
    if error is None:
        return None
    return ErrorView(
        code=error.code,
        message=error.message,
        category=error.category,
        retriable=error.retriable,
        service=error.service,
        step=None if step is None else step.name,
        attempt=None if step is None else step.attempt,
    )


def _usage(usage: Usage) -> UsageView:
    return UsageView(
        model=usage.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_micros=usage.cost_micros,
        estimated=usage.estimated,
    )


def _convert(value: Any, kind: type[msgspec.Struct]) -> Any:
    return None if value is None else msgspec.convert(value, kind)


def _raw(text: str) -> Raw:
    # A completed task whose owner dropped its documents has no text here.
    return Raw(text.encode() or b"null")


def _time(millis: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=millis)


def _time_or_none(millis: int | None) -> datetime | None:
    return None if millis is None else _time(millis)


def _any_time(time: int | datetime | None) -> datetime | None:
    return _time(time) if isinstance(time, int) else time


def _between(start: int | None, end: int | None) -> int | None:
    return None if start is None or end is None else end - start


def _any_between(start: int | datetime | None, end: int | datetime | None) -> int | None:
    start, end = _any_time(start), _any_time(end)
    return (
        None if start is None or end is None else round((end - start) / timedelta(milliseconds=1))
    )
