"""After an attempt that succeeded: the next step, or the end of the task.

An output that leads to neither fails its step: it cannot be stored, is too large, or lacks
a value that the next step needs. The step's command is dead-lettered then, and a retry runs
it again.
"""

from collections.abc import Mapping

import msgspec

from schemas.errors import InvalidRecordError
from schemas.json_text import parse_value
from schemas.records import (
    Error,
    ErrorCategory,
    EventKind,
    Json,
    StepName,
    StepOutcome,
    TaskEvent,
    TaskStatus,
)
from tasks.clean import added
from tasks.deciding.dispatch import dispatch, fill
from tasks.deciding.event import next_event
from tasks.deciding.report import Report, failed_for_good
from tasks.deciding.size import bytes_at_most, fits
from tasks.pipeline import Pipeline, PipelineUnknownError
from tasks.task import Phase, StepStatus

_STATE_MARGIN_BYTES = 16 * 1024
"""The part of a state or a ``retried`` event besides documents: ids, names, an error."""


def after_success(report: Report) -> TaskEvent:
    """Continue with the reported output (``null`` if the worker reported no output)."""
    if report.pipeline is None:
        return failed_for_good(report, _pipeline_gone(report))
    output = _checked_output(report)
    if isinstance(output, Error):
        return failed_for_good(report, output)
    outcome = report.outcome(StepStatus.SUCCEEDED, output=output)
    outputs = {**report.task.outputs, report.outstanding.step: output}
    follow = _completed if _is_last(report, report.pipeline) else _next_step
    event = follow(report, report.pipeline, outcome, outputs)
    return failed_for_good(report, event) if isinstance(event, Error) else event


def _checked_output(report: Report) -> Json | Error:
    output = Json("null") if report.result.output is None else report.result.output
    what = f"output of step {report.outstanding.step}"
    try:
        parse_value(output, what=what, max_bytes=report.limits.step_output_max_bytes)
    except InvalidRecordError as error:
        too_large = error.code == "INPUT_TOO_LARGE"
        code = "OUTPUT_TOO_LARGE" if too_large else "OUTPUT_NOT_STORABLE"
        return _fault_of_service(report, code, str(error))
    return output


def _is_last(report: Report, pipeline: Pipeline) -> bool:
    return report.outstanding.step_index + 1 == len(pipeline.steps)


def _next_step(
    report: Report, pipeline: Pipeline, outcome: StepOutcome, outputs: Mapping[StepName, Json]
) -> TaskEvent | Error:
    task = report.task
    step = dispatch(
        task.spec,
        outputs,
        pipeline=pipeline,
        index=report.outstanding.step_index + 1,
        run=task.run,
        priority=task.priority,
        max_bytes=report.limits.step_input_max_bytes,
    )
    if isinstance(step, Error):
        return step
    event = next_event(
        task,
        report.context,
        EventKind.STEP_SUCCEEDED,
        status=TaskStatus.RUNNING,
        phase=Phase.QUEUED,
        step=outcome,
        dispatched=[step],
        usage=added(task.usage, outcome.usage),
    )
    return _if_it_fits(report, event, whole=(task.spec, outputs, step), last=step.input)


def _completed(
    report: Report, pipeline: Pipeline, outcome: StepOutcome, outputs: Mapping[StepName, Json]
) -> TaskEvent | Error:
    task = report.task
    max_bytes = report.limits.step_output_max_bytes
    output = fill(pipeline.output, task.spec, outputs, what="the output", max_bytes=max_bytes)
    if isinstance(output, Error):
        incomplete = output.code == "STEP_INPUT_INCOMPLETE"
        code = "OUTPUT_INCOMPLETE" if incomplete else "OUTPUT_TOO_LARGE"
        return msgspec.structs.replace(output, code=code)
    event = next_event(
        task,
        report.context,
        EventKind.COMPLETED,
        status=TaskStatus.COMPLETED,
        phase=Phase.COMPLETED,
        step=outcome,
        output=output,
        usage=added(task.usage, outcome.usage),
    )
    return _if_it_fits(report, event, whole=(task.spec, outputs, output), last=output)


def _if_it_fits(
    report: Report, event: TaskEvent, *, whole: object, last: Json
) -> TaskEvent | Error:
    """The event, unless it or the state after it is larger than a record may be.

    `retried` and snapshots carry the ``whole`` task, so it must fit into one record, too.
    """
    max_bytes = report.limits.event_max_bytes
    large = (report.task.spec.input, report.result.output, last)
    if fits(event, max_bytes, *large) and fits(whole, max_bytes - _STATE_MARGIN_BYTES, *large):
        return event
    size = max(bytes_at_most(event), bytes_at_most(whole) + _STATE_MARGIN_BYTES)
    message = f"the task has {size} bytes with this output, at most "
    message += f"{max_bytes} fit into one event"
    return _fault_of_service(report, "OUTPUT_TOO_LARGE", message)


def _fault_of_service(report: Report, code: str, message: str) -> Error:
    service = report.outstanding.service
    return Error(code=code, message=message, category=ErrorCategory.DOWNSTREAM, service=service)


def _pipeline_gone(report: Report) -> Error:
    spec = report.task.spec
    return Error(
        code=PipelineUnknownError.code,
        message=f"{spec.pipeline} version {spec.pipeline_version} is not loaded, or was changed",
        category=ErrorCategory.INTERNAL,
    )
