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
    order = OwnedCommand(task=task, command=record, context=context)
    match record.kind:
        case CommandKind.EXECUTE:
            return Accepted(_execute(order))
        case CommandKind.CANCEL:
            return Accepted(_cancel(order))
        case CommandKind.SET_PRIORITY:
            return Accepted(_set_priority(order))
        case CommandKind.RETRY:
            return on_retry(order)
        case CommandKind.UNKNOWN:
            return Accepted(refused(order, "COMMAND_KIND_UNKNOWN"))


def _execute(order: OwnedCommand) -> TaskEvent:
    """Queue a held task. If it is queued already, the command is refused and nothing changes."""
    if order.task.phase not in (Phase.HELD, Phase.QUEUED):
        return refused(order, "TASK_NOT_PENDING")
    if order.task.status is not TaskStatus.PENDING:
        return refused(order, "TASK_NOT_PENDING")
    steps: list[DispatchedStep] = []
    if order.task.phase is Phase.HELD:
        step = _first_step(order)
        if isinstance(step, Error):
            return refused(order, step.code)
        steps = [step]
    return next_event(
        order.task,
        order.context,
        EventKind.EXECUTE_REQUESTED,
        phase=Phase.QUEUED,
        dispatched=steps,
        actor=order.actor,
        reason=order.reason,
    )


def _first_step(order: OwnedCommand) -> DispatchedStep | Error:
    if order.pipeline is None:
        return Error(code=PipelineUnknownError.code)
    return dispatch(
        order.task.spec,
        {},
        pipeline=order.pipeline,
        index=0,
        run=order.task.run,
        priority=order.task.priority,
        max_bytes=order.context.rules.limits.step_input_max_bytes,
    )


def _cancel(order: OwnedCommand) -> TaskEvent:
    """End a task that has not ended.

    Cancelling a cancelled task is idempotent for the caller, but a run ends only once: the
    answer is ``command_refused`` with ``TASK_ALREADY_CANCELLED`` and status ``cancelled``,
    which the API answers as a success.
    """
    if order.task.status is TaskStatus.CANCELLED:
        return refused(order, "TASK_ALREADY_CANCELLED")
    if order.task.status.terminal:
        return refused(order, "TASK_NOT_CANCELLABLE")
    error = Error(
        code="TASK_CANCELLED",
        message=order.reason or "the task was cancelled",
        category=ErrorCategory.CANCELLED,
    )
    return next_event(
        order.task,
        order.context,
        EventKind.CANCELLED,
        status=TaskStatus.CANCELLED,
        phase=Phase.CANCELLED,
        step=abandoned(order.task.outstanding, occurred_at=order.occurred_at),
        error=error,
        actor=order.actor,
        reason=order.reason,
    )


def _set_priority(order: OwnedCommand) -> TaskEvent:
    """Change the priority of a task that has not ended; the next command is sent with it.

    A command that waits in a lane is sent again, unchanged, into the new lane: the copy that runs
    first counts, the other one does nothing.
    """
    priority = order.command.priority
    if priority is None or not PRIORITY_MIN <= priority <= PRIORITY_MAX:
        return refused(order, "PRIORITY_OUT_OF_RANGE")
    if order.task.status.terminal:
        return refused(order, "TASK_ALREADY_ENDED")
    moved = _moved_step(order, priority)
    return next_event(
        order.task,
        order.context,
        EventKind.PRIORITY_CHANGED,
        phase=Phase.QUEUED if moved else None,
        priority=priority,
        dispatched=moved,
        actor=order.actor,
        reason=order.reason,
    )


def _moved_step(order: OwnedCommand, priority: int) -> list[DispatchedStep]:
    waiting = order.task.outstanding
    if waiting is None or waiting.lane is lane_of(priority) or not _may_be_in_a_lane(order):
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


def _may_be_in_a_lane(order: OwnedCommand) -> bool:
    """True if the outstanding command was presumably sent, and no worker has reported its start."""
    waiting = order.task.outstanding
    if order.task.phase is Phase.RETRY_SCHEDULED and waiting and waiting.due_at is not None:
        return waiting.due_at <= order.context.now
    return order.task.phase is Phase.QUEUED
