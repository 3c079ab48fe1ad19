"""The rule for ``StepResult``: a task goes on to its next step, waits for a retry, or ends.

The first result of the outstanding attempt counts; any other result is late. The start of an
attempt is only shown to watchers: every result implies it.
"""

from schemas.records import EventKind, ResultKind, StepResult, TaskEvent, TaskStatus
from tasks.clean import storable_error
from tasks.deciding.context import Context
from tasks.deciding.event import next_event
from tasks.deciding.failed import after_cancellation, after_failure
from tasks.deciding.report import Report
from tasks.deciding.succeeded import after_success
from tasks.decision import Accepted, Decision, Ignored, Rejected
from tasks.task import Phase, StepStatus, Task


def on_reported(task: Task | None, record: StepResult, context: Context) -> Decision:
    """Apply a report on the outstanding attempt.

    An attempt whose command is due may report, too, because sending the command is not an event.
    """
    if task is None:
        return Ignored("unknown_task_result")
    outstanding = task.outstanding
    if outstanding is None or outstanding.command_id != record.command_id:
        return Ignored("late_result")
    report = Report(task=task, outstanding=outstanding, result=record, context=context)
    match record.kind:
        case ResultKind.STARTED if task.phase is Phase.STEP_RUNNING:
            return Ignored("already_started")
        case ResultKind.STARTED:
            return Accepted(_started(report))
        case ResultKind.SUCCEEDED:
            return Accepted(after_success(report))
        case ResultKind.FAILED:
            error = storable_error(record.error, service=outstanding.service)
            return Accepted(after_failure(report, error))
        case ResultKind.CANCELLED:
            return Accepted(after_cancellation(report))
        case ResultKind.UNKNOWN:
            return Rejected("RESULT_KIND_UNKNOWN", "the result is of no kind that we know")


def _started(report: Report) -> TaskEvent:
    return next_event(
        report.task,
        report.context,
        EventKind.STARTED,
        status=TaskStatus.RUNNING,
        phase=Phase.STEP_RUNNING,
        step=report.outcome(StepStatus.RUNNING),
    )
