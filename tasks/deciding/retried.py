"""The rule for a retry: an ended task begins a new run, from the first step without a result."""

import msgspec

from schemas.records import Error, EventKind, Json, Millis, StepName, TaskSpec, TaskStatus
from tasks.deciding.dispatch import dispatch
from tasks.deciding.event import next_event
from tasks.deciding.owned_command import OwnedCommand, refused
from tasks.deciding.size import fits
from tasks.decision import Accepted, Decision, Ignored
from tasks.pipeline import Pipeline, PipelineUnknownError
from tasks.task import Phase


def on_retry(owned: OwnedCommand) -> Decision:
    """Begin the next run, with a fresh deadline.

    ``from_step`` goes back to an earlier step; the outputs from that step on are dropped. The
    event carries the whole task, so that a reader that forgot it can fold it from this event
    alone. Refusals: ``TASK_NOT_RETRIABLE`` (not failed or cancelled), ``STEP_UNKNOWN`` (the step
    does not exist, or a step before it has no result), ``PIPELINE_VERSION_UNKNOWN``,
    ``TASK_TOO_LARGE``, and the codes of :func:`~tasks.deciding.dispatch.dispatch`.
    """
    if owned.command.run is not None and owned.command.run != owned.task.run:
        return Ignored("other_run")
    if owned.task.status not in (TaskStatus.FAILED, TaskStatus.CANCELLED):
        return Accepted(refused(owned, "TASK_NOT_RETRIABLE"))
    if owned.pipeline is None:
        return Accepted(refused(owned, PipelineUnknownError.code))
    index = _first_index(owned, owned.pipeline)
    if index is None:
        return Accepted(refused(owned, "STEP_UNKNOWN"))
    return _retried(owned, owned.pipeline, index)


def _first_index(owned: OwnedCommand, pipeline: Pipeline) -> int | None:
    """The position of the first step of the new run; None if the run cannot begin there."""
    names = [step.name for step in pipeline.steps]
    without = next((i for i, name in enumerate(names) if name not in owned.task.outputs), None)
    if owned.command.from_step is None:
        return without
    wanted = pipeline.index_of(owned.command.from_step)
    reachable = wanted is not None and (without is None or wanted <= without)
    return wanted if reachable else None


def _retried(owned: OwnedCommand, pipeline: Pipeline, index: int) -> Decision:
    kept = {step.name: owned.task.outputs[step.name] for step in pipeline.steps[:index]}
    limits = owned.context.rules.limits
    step = dispatch(
        owned.task.spec,
        kept,
        pipeline=pipeline,
        index=index,
        run=owned.task.run + 1,
        priority=owned.task.priority,
        max_bytes=limits.step_input_max_bytes,
    )
    if isinstance(step, Error):
        return Accepted(refused(owned, step.code))
    event = next_event(
        owned.task,
        owned.context,
        EventKind.RETRIED,
        status=TaskStatus.PENDING,
        phase=Phase.QUEUED,
        run=owned.task.run + 1,
        spec=_fresh_spec(owned, kept),
        dispatched=[step],
        actor=owned.actor,
        reason=owned.reason,
    )
    if not fits(event, limits.event_max_bytes, step.input):
        return Accepted(refused(owned, "TASK_TOO_LARGE"))
    return Accepted(event)


def _fresh_spec(owned: OwnedCommand, kept: dict[StepName, Json]) -> TaskSpec:
    spec = owned.task.spec
    return msgspec.structs.replace(
        spec,
        priority=owned.task.priority,
        hold=False,
        deadline_at=Millis(owned.occurred_at + spec.timeout_ms),
        kept_outputs=dict(kept),
    )
