"""Tasks and steps as callers see them: the same from memory and from Postgres."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Raw, field

from orchestrator.api.replica.live_task import Folded
from orchestrator.api.tasks.views.view import (
    ErrorView,
    Status,
    UsageView,
    View,
    any_between,
    any_time,
    between,
    error_view,
    raw,
    status_of,
    time_of,
    time_or_none,
    usage_view,
)
from schemas.records import (
    TaskCreated,
)
from sinks.columns import StepRow
from sinks.reads.stored import ListedTask, StoredStep, StoredTask
from tasks.task import Phase


class StepView(View, frozen=True, kw_only=True):
    """The last attempt of a step."""

    id: str
    name: str
    service: str
    run: int
    attempt: int
    status: str
    input: Raw | None = None
    output: Raw | None = None
    error: ErrorView | None = None
    usage: UsageView | None = None
    substeps: Raw = field(default_factory=lambda: Raw(b"[]"))
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: int | None = None


class TaskView(View, frozen=True, kw_only=True):
    """A task with its documents and steps."""

    id: str
    type: str
    status: Status
    phase: str
    priority: int
    conversation_id: str | None
    user_id: str | None
    tenant_id: str
    input: Raw
    output: Raw | None = None
    steps: list[StepView] = field(default_factory=list)
    metadata: Raw = field(default_factory=lambda: Raw(b"{}"))
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: int | None = None
    deadline_at: datetime | None = None
    """None while its owner has not read it (phase ``accepted``)."""
    error: ErrorView | None = None
    usage: UsageView = field(default_factory=UsageView)
    sequence: int
    """Sequence of its last event; 0 while only the broker has the task."""
    run: int = 1
    pipeline: str | None = None
    pipeline_version: int | None = None


class TaskAnswer(View, frozen=True, kw_only=True):
    """A task, and whether a create named an existing one."""

    task: TaskView
    replayed: bool = False


class BatchAnswer(View, frozen=True, kw_only=True):
    """The tasks of a batch, in the order of the request."""

    tasks: list[TaskAnswer]


class ReleasedAnswer(View, frozen=True, kw_only=True):
    """The held tasks that were released, in the order of their release."""

    task_ids: list[str]


class TaskSummary(View, frozen=True, kw_only=True):
    """A task as lists show it: without its documents and steps."""

    id: str
    type: str
    status: str
    phase: str
    priority: int
    conversation_id: str | None
    user_id: str | None
    tenant_id: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: int | None
    run: int
    error_code: str | None
    input_tokens: int
    output_tokens: int
    cost_micros: int


class TaskPage(View, frozen=True, kw_only=True):
    """A page of tasks; ``next_page_token`` is null after the last one."""

    tasks: list[TaskSummary]
    next_page_token: str | None = None


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


def accepted_view(record: TaskCreated) -> TaskView:
    """A task that its owner has not read yet."""
    created_at = time_of(record.created_at)
    return TaskView(
        id=record.task_id,
        type=record.type,
        status="pending",
        phase=Phase.ACCEPTED,
        priority=record.priority,
        conversation_id=record.conversation_id,
        user_id=record.user_id,
        tenant_id=record.tenant_id,
        input=raw(record.input),
        metadata=raw(record.metadata),
        created_at=created_at,
        updated_at=created_at,
        deadline_at=time_or_none(record.deadline_at),
        sequence=0,
        pipeline_version=record.pipeline_version,
    )


def live_view(folded: Folded, earlier: Sequence[StoredStep] = ()) -> TaskView:
    """A task in memory; ``earlier`` are attempts that memory may not know."""
    task, spec = folded.task, folded.task.spec
    return TaskView(
        id=spec.task_id,
        type=spec.type,
        status=status_of(task.status),
        phase=task.phase,
        priority=task.priority,
        conversation_id=spec.conversation_id,
        user_id=spec.user_id,
        tenant_id=spec.tenant_id,
        input=raw(spec.input),
        output=None if task.output is None else raw(task.output),
        steps=steps_of(folded, earlier),
        metadata=raw(spec.metadata),
        created_at=time_of(task.created_at),
        updated_at=time_of(task.updated_at),
        started_at=time_or_none(task.started_at),
        completed_at=time_or_none(task.completed_at),
        duration_ms=between(task.started_at, task.completed_at),
        deadline_at=time_of(task.deadline_at),
        error=error_view(task.error, folded.failed_step),
        usage=usage_view(task.usage),
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
        status=status_of(row.status),
        phase=row.phase,
        priority=row.priority,
        conversation_id=row.conversation_id,
        user_id=row.user_id,
        tenant_id=row.tenant_id,
        input=raw(row.input),
        output=None if row.output is None else raw(row.output),
        steps=[_stored_step(step) for step in _decode_steps(row.steps)],
        metadata=raw(row.metadata),
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


def steps_of(folded: Folded, earlier: Sequence[StoredStep]) -> list[StepView]:
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
        input=None if given is None else raw(given),
        output=None if row.output is None else raw(row.output),
        error=error,
        usage=_step_usage(row),
        substeps=raw(row.substeps or "[]"),
        started_at=any_time(row.started_at),
        completed_at=any_time(row.completed_at),
        duration_ms=any_between(row.started_at, row.completed_at),
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
