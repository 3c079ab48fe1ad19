"""The rule for the deadline's timer."""

from schemas.records import Error, ErrorCategory, EventKind, TaskStatus
from tasks.deciding.context import Context
from tasks.deciding.event import next_event
from tasks.deciding.report import abandoned
from tasks.decision import Accepted, Decision, Ignored
from tasks.task import Phase, Task

EXCEEDED = "DEADLINE_EXCEEDED"


def on_deadline(task: Task | None, context: Context) -> Decision:
    """Fail a task whose deadline has passed, held or not."""
    if task is None:
        return Ignored("unknown_task_deadline")
    if task.status.terminal:
        return Ignored("already_ended")
    if context.now < task.deadline_at:
        return Ignored("not_due")
    error = Error(
        code=EXCEEDED,
        message="the task's deadline passed before it ended",
        category=ErrorCategory.TIMEOUT,
    )
    event = next_event(
        task,
        context,
        EventKind.FAILED,
        status=TaskStatus.FAILED,
        phase=Phase.FAILED,
        step=abandoned(task.outstanding, occurred_at=context.occurred_at(task)),
        error=error,
    )
    return Accepted(event)
