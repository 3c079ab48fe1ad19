"""The next event of a task."""

from collections.abc import Sequence

from schemas.records import (
    DispatchedStep,
    Error,
    EventKind,
    Json,
    StepOutcome,
    TaskEvent,
    TaskId,
    TaskSpec,
    TaskStatus,
    Usage,
)
from tasks.deciding.context import Context
from tasks.task import Phase, Task


def next_event(
    task: Task,
    context: Context,
    kind: EventKind,
    *,
    status: TaskStatus | None = None,
    phase: Phase | None = None,
    priority: int | None = None,
    run: int | None = None,
    spec: TaskSpec | None = None,
    step: StepOutcome | None = None,
    dispatched: Sequence[DispatchedStep] = (),
    output: Json | None = None,
    error: Error | None = None,
    usage: Usage | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> TaskEvent:
    """The event after the task's last one; fields that are not given stay as the task has them."""
    return TaskEvent(
        event_id=event_id_of(task.task_id, task.sequence + 1),
        task_id=task.task_id,
        tenant_id=task.spec.tenant_id,
        kind=kind,
        sequence=task.sequence + 1,
        run=task.run if run is None else run,
        status=task.status if status is None else status,
        phase=task.phase if phase is None else phase,
        priority=task.priority if priority is None else priority,
        occurred_at=context.occurred_at(task),
        cause_topic=context.cause.topic,
        cause_partition=context.cause.partition,
        cause_offset=context.cause.offset,
        task=spec,
        step=step,
        dispatched=list(dispatched),
        output=output,
        error=error,
        usage=task.usage if usage is None else usage,
        actor=actor,
        reason=reason,
    )


def event_id_of(task_id: TaskId, sequence: int) -> str:
    """``task_id/sequence``: unique in a task's life, and the same when decided again.

    If an id is used again after its task was forgotten, the sequence begins again at 1. A deposed
    owner may have written another event with this id; readers accept only one of them.
    """
    return f"{task_id}/{sequence}"
