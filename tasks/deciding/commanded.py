"""The rules for ``TaskCommand``: execute, cancel, change the priority (retry has its own file).

A command about a known task of its own tenant is answered in the log: with the event that it
caused, or with ``command_refused`` and a code as the reason. The one exception is a retry
that names a run other than the current one: it is ignored.
"""

from schemas.limits import PRIORITY_MAX, PRIORITY_MIN
from schemas.records import (
    CommandKind,
    DispatchedStep,
    Error,
    ErrorCategory,
    EventKind,
    TaskCommand,
    TaskEvent,
    TaskStatus,
)
from tasks.deciding.context import Context
from tasks.deciding.dispatch import dispatch
from tasks.deciding.event import next_event
from tasks.deciding.owned_command import OwnedCommand, refused
from tasks.deciding.report import abandoned
from tasks.deciding.retried import on_retry
from tasks.decision import Accepted, Decision, Rejected
from tasks.lane import lane_of
from tasks.pipeline import PipelineUnknownError
from tasks.task import Phase, Task


def on_commanded(task: Task | None, record: TaskCommand, context: Context) -> Decision:
    """Carry out or refuse a command.

    A command of another tenant is dead-lettered, not refused: a refusal is an event, and a
    tenant must not write into the log of another tenant's task.
    """
    if task is None:
        return Rejected("TASK_UNKNOWN", "there is no task of this id")
    if record.tenant_id != task.spec.tenant_id:
        return Rejected("TENANT_MISMATCH", "the task belongs to another tenant")
    owned = OwnedCommand(task=task, command=record, context=context)
    match record.kind:
        case CommandKind.EXECUTE:
            return Accepted(_execute(owned))
        case CommandKind.CANCEL:
            return Accepted(_cancel(owned))
        case CommandKind.SET_PRIORITY:
            return Accepted(_set_priority(owned))
        case CommandKind.RETRY:
            return on_retry(owned)
        case CommandKind.UNKNOWN:
            return Accepted(refused(owned, "COMMAND_KIND_UNKNOWN"))


def _execute(owned: OwnedCommand) -> TaskEvent:
    """Queue a held task. If it is queued already, the command is refused and nothing changes."""
    if owned.task.phase not in (Phase.HELD, Phase.QUEUED):
        return refused(owned, "TASK_NOT_PENDING")
    if owned.task.status is not TaskStatus.PENDING:
        return refused(owned, "TASK_NOT_PENDING")
    steps: list[DispatchedStep] = []
    if owned.task.phase is Phase.HELD:
        step = _first_step(owned)
        if isinstance(step, Error):
            return refused(owned, step.code)
        steps = [step]
    return next_event(
        owned.task,
        owned.context,
        EventKind.EXECUTE_REQUESTED,
        phase=Phase.QUEUED,
        dispatched=steps,
        actor=owned.actor,
        reason=owned.reason,
    )


def _first_step(owned: OwnedCommand) -> DispatchedStep | Error:
    if owned.pipeline is None:
        return Error(code=PipelineUnknownError.code)
    return dispatch(
        owned.task.spec,
        {},
        pipeline=owned.pipeline,
        index=0,
        run=owned.task.run,
        priority=owned.task.priority,
        max_bytes=owned.context.rules.limits.step_input_max_bytes,
    )


def _cancel(owned: OwnedCommand) -> TaskEvent:
    """End a task that has not ended.

    Cancelling a cancelled task is idempotent for the caller, but a run ends only once: the
    answer is ``command_refused`` with ``TASK_ALREADY_CANCELLED`` and status ``cancelled``,
    which the API answers as a success.
    """
    if owned.task.status is TaskStatus.CANCELLED:
        return refused(owned, "TASK_ALREADY_CANCELLED")
    if owned.task.status.terminal:
        return refused(owned, "TASK_NOT_CANCELLABLE")
    error = Error(
        code="TASK_CANCELLED",
        message=owned.reason or "the task was cancelled",
        category=ErrorCategory.CANCELLED,
    )
    return next_event(
        owned.task,
        owned.context,
        EventKind.CANCELLED,
        status=TaskStatus.CANCELLED,
        phase=Phase.CANCELLED,
        step=abandoned(owned.task.outstanding, occurred_at=owned.occurred_at),
        error=error,
        actor=owned.actor,
        reason=owned.reason,
    )


def _set_priority(owned: OwnedCommand) -> TaskEvent:
    """Change the priority of a task that has not ended; the next command is sent with it.

    A command that waits in a lane is sent again, unchanged, into the new lane: the copy that runs
    first counts, the other one does nothing.
    """
    priority = owned.command.priority
    if priority is None or not PRIORITY_MIN <= priority <= PRIORITY_MAX:
        return refused(owned, "PRIORITY_OUT_OF_RANGE")
    if owned.task.status.terminal:
        return refused(owned, "TASK_ALREADY_ENDED")
    moved = _moved_step(owned, priority)
    return next_event(
        owned.task,
        owned.context,
        EventKind.PRIORITY_CHANGED,
        phase=Phase.QUEUED if moved else None,
        priority=priority,
        dispatched=moved,
        actor=owned.actor,
        reason=owned.reason,
    )


def _moved_step(owned: OwnedCommand, priority: int) -> list[DispatchedStep]:
    waiting = owned.task.outstanding
    if waiting is None or waiting.lane is lane_of(priority) or not _may_be_in_a_lane(owned):
        return []
    return [
        DispatchedStep(
            command_id=waiting.command_id,
            step=waiting.step,
            step_index=waiting.step_index,
            service=waiting.service,
            attempt=waiting.attempt,
            lane=lane_of(priority),
            input=waiting.input,
        )
    ]


def _may_be_in_a_lane(owned: OwnedCommand) -> bool:
    """True if the outstanding command was presumably sent, and no worker has reported its start."""
    waiting = owned.task.outstanding
    if owned.task.phase is Phase.RETRY_SCHEDULED and waiting and waiting.due_at is not None:
        return waiting.due_at <= owned.context.now
    return owned.task.phase is Phase.QUEUED
