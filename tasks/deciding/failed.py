"""After a failed attempt: the next attempt at a later time, or the end of the task."""

import msgspec

from schemas.records import Error, ErrorCategory, EventKind, Millis, TaskEvent, TaskStatus
from tasks.clean import added, storable_error
from tasks.deciding.event import next_event
from tasks.deciding.report import Report, failed_for_good
from tasks.task import Phase, StepStatus

_DROPPED = Error(
    code="ATTEMPT_CANCELLED",
    message="the worker dropped an attempt that still counts",
    category=ErrorCategory.CANCELLED,
)


def after_failure(report: Report, error: Error) -> TaskEvent:
    """Schedule the next attempt, if the error, the step's policy and the deadline allow one."""
    due_at = _next_attempt_at(report, error)
    if due_at is None:
        return failed_for_good(report, error)
    outcome = report.outcome(StepStatus.RETRY_SCHEDULED, error=error, next_attempt_at=due_at)
    return next_event(
        report.task,
        report.context,
        EventKind.STEP_RETRY_SCHEDULED,
        status=TaskStatus.RUNNING,
        phase=Phase.RETRY_SCHEDULED,
        step=outcome,
        usage=added(report.task.usage, outcome.usage),
    )


def after_cancellation(report: Report) -> TaskEvent:
    """A worker dropped an attempt that still counts: treated like a lost connection."""
    service = report.outstanding.service
    error = storable_error(report.result.error or _DROPPED, service=service)
    return after_failure(report, msgspec.structs.replace(error, retriable=True))


def _next_attempt_at(report: Report, error: Error) -> Millis | None:
    """When the next attempt is due; None if no attempt follows."""
    if report.pipeline is None or not error.retriable:
        return None
    policy = report.pipeline.steps[report.outstanding.step_index].retry
    attempt = report.outstanding.attempt
    if attempt >= policy.max_attempts:
        return None
    delay_ms = policy.delay_ms(
        attempt,
        jitter=report.context.jitter,
        retry_after_ms=report.result.retry_after_ms,
    )
    due_at = Millis(report.occurred_at + delay_ms)
    return due_at if due_at < report.task.deadline_at else None
