"""A worker's report on the outstanding attempt, and the outcome that its event records."""

import msgspec
from msgspec import Struct

from schemas.limits import Limits
from schemas.records import (
    Error,
    EventKind,
    Json,
    Millis,
    StepOutcome,
    StepResult,
    TaskEvent,
    TaskStatus,
)
from tasks.clean import (
    NAME_MAX_CHARS,
    added,
    between,
    storable,
    storable_substeps,
    storable_usage,
)
from tasks.deciding.context import Context
from tasks.deciding.event import next_event
from tasks.deciding.size import fits
from tasks.pipeline import Pipeline
from tasks.task import Outstanding, Phase, StepStatus, Task


class Report(Struct, frozen=True, kw_only=True):
    """A result that counts: it belongs to the attempt that its task waits for."""

    task: Task
    outstanding: Outstanding
    result: StepResult
    context: Context

    @property
    def occurred_at(self) -> Millis:
        """The time of the event that this report leads to."""
        return self.context.occurred_at(self.task)

    @property
    def limits(self) -> Limits:
        """The size limits."""
        return self.context.rules.limits

    @property
    def pipeline(self) -> Pipeline | None:
        """The task's pipeline in its version; None if it is not loaded, or was changed in place."""
        spec, waiting = self.task.spec, self.outstanding
        pipeline = self.context.rules.pipelines.get(spec.pipeline, spec.pipeline_version)
        known = pipeline is not None and pipeline.has(waiting.step, waiting.step_index)
        return pipeline if known else None

    def outcome(
        self,
        status: StepStatus,
        *,
        output: Json | None = None,
        error: Error | None = None,
        next_attempt_at: Millis | None = None,
    ) -> StepOutcome:
        """The outcome of the step, as the event records it.

        Step and attempt come from the state, not from the report. Times are moved to lie
        between the dispatch and now; texts, usage and substeps are made storable.
        """
        outstanding, result, now = self.outstanding, self.result, self.occurred_at
        started_at = between(outstanding.dispatched_at, result.started_at, now)
        ended_at = between(started_at, result.completed_at or now, now)
        return StepOutcome(
            command_id=outstanding.command_id,
            name=outstanding.step,
            step_index=outstanding.step_index,
            service=outstanding.service,
            attempt=outstanding.attempt,
            status=status,
            output=output,
            error=error,
            usage=None if result.usage is None else storable_usage(result.usage),
            substeps=storable_substeps(
                result.substeps,
                service=outstanding.service,
                until=now,
                max_bytes=self.limits.step_output_max_bytes,
            ),
            started_at=started_at,
            completed_at=None if status is StepStatus.RUNNING else ended_at,
            next_attempt_at=next_attempt_at,
            worker=storable(result.worker, max_chars=NAME_MAX_CHARS),
            command_topic=storable(result.command_topic, max_chars=NAME_MAX_CHARS),
            command_partition=result.command_partition,
            command_offset=result.command_offset,
        )


def failed_for_good(report: Report, error: Error) -> TaskEvent:
    """The step failed, and with it the task."""
    outcome = report.outcome(StepStatus.FAILED, error=error)
    event = next_event(
        report.task,
        report.context,
        EventKind.FAILED,
        status=TaskStatus.FAILED,
        phase=Phase.FAILED,
        step=outcome,
        error=error,
        usage=added(report.task.usage, outcome.usage),
    )
    if fits(event, report.limits.event_max_bytes):
        return event
    # Only substeps can be that large here, and a failure must be recorded in any case.
    return msgspec.structs.replace(event, step=msgspec.structs.replace(outcome, substeps=[]))


def abandoned(outstanding: Outstanding | None, *, occurred_at: Millis) -> StepOutcome | None:
    """The outcome of an attempt that no longer counts; None without an attempt."""
    if outstanding is None:
        return None
    return StepOutcome(
        command_id=outstanding.command_id,
        name=outstanding.step,
        step_index=outstanding.step_index,
        service=outstanding.service,
        attempt=outstanding.attempt,
        status=StepStatus.CANCELLED,
        completed_at=occurred_at,
    )
