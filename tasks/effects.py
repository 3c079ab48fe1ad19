"""Effects: the records that follow from an accepted event, once it is proved. Pure.

An effect is a function of the event and the states around it, so a new owner that makes the
effect again makes the same bytes with the same key.
"""

from msgspec import Struct

from schemas.records import (
    Control,
    ControlKind,
    Error,
    EventKind,
    Lane,
    StepCommand,
    TaskEvent,
)
from tasks.deciding.deadline import EXCEEDED
from tasks.deciding.dispatch import dispatch
from tasks.pipeline import Pipelines, PipelineStep, PipelineUnknownError
from tasks.task import Outstanding, StepStatus, Task

_NO_LIMIT = 2**63
"""Without a limit: the input of a first step was measured when the task was admitted."""


class SendStep(Struct, frozen=True):
    """Send a command to its step's topic of this lane. Key: the task id."""

    command: StepCommand
    lane: Lane


class Broadcast(Struct, frozen=True):
    """Make all step workers stop the calls of this task's run. Key: the task id."""

    control: Control


class DeadLetterStep(Struct, frozen=True):
    """Dead-letter the command of a step that failed for good, or that a deadline stopped.

    Its position is in ``event.step`` (``command_topic``, ``command_partition``,
    ``command_offset``) if a worker reported the failure: the dead letter's id is derived from
    that. Otherwise the position is unknown or the command was not sent yet, and the id is
    derived from the command's id.
    """

    command: StepCommand
    error: Error
    event: TaskEvent


Effect = SendStep | Broadcast | DeadLetterStep


def effects(
    before: Task | None, event: TaskEvent, after: Task, pipelines: Pipelines
) -> list[Effect]:
    """The effects of an event.

    Args:
        before: the state that the event was applied to.
        event: accepted, of this task.
        after: ``apply(before, event)``.
        pipelines: all versions that tasks may have.

    Raises:
        PipelineUnknownError: a command has to be sent, and its pipeline is not loaded.
    """
    found: list[Effect] = []
    if event.dispatched and after.outstanding is not None:
        command = _command(after, after.outstanding, pipelines)
        found += [SendStep(command, step.lane) for step in event.dispatched]
    if before is None:
        return found
    if event.kind is EventKind.CANCELLED and before.outstanding is not None:
        found.append(_broadcast(ControlKind.CANCEL, event))
    elif event.kind is EventKind.FAILED:
        found += _after_failure(before, event, pipelines)
    return found


def is_deadline(error: Error | None) -> bool:
    """True if a task failed because its deadline passed, whether a timer or a worker noticed."""
    return error is not None and error.code == EXCEEDED


def due_command(task: Task, pipelines: Pipelines) -> SendStep:
    """The command of the outstanding attempt, for a scheduled retry that is due.

    Also for an owner that does not know whether a command was sent: a second copy does
    nothing.

    Raises:
        ValueError: the task does not wait for an attempt; call only while ``outstanding`` is set.
        PipelineUnknownError: its pipeline is not loaded.
    """
    if task.outstanding is None:
        raise ValueError(f"{task.task_id} waits for no attempt")
    return SendStep(_command(task, task.outstanding, pipelines), task.outstanding.lane)


def _broadcast(kind: ControlKind, event: TaskEvent) -> Broadcast:
    return Broadcast(
        Control(
            kind=kind,
            task_id=event.task_id,
            run=event.run,
            reason=event.error.code if event.error else "",
            at=event.occurred_at,
        )
    )


def _after_failure(before: Task, event: TaskEvent, pipelines: Pipelines) -> list[Effect]:
    reported = event.step is not None and event.step.status == StepStatus.FAILED
    if before.outstanding is None:
        return [*_dead_letter_held(before, event, pipelines)] if is_deadline(event.error) else []
    if reported:
        return [*_dead_letter(before, before.outstanding, event, pipelines)]
    if event.step is None:
        return []
    told = _broadcast(ControlKind.DEADLINE, event)
    if not is_deadline(event.error):
        return [told]
    return [told, *_dead_letter(before, before.outstanding, event, pipelines)]


def _dead_letter(
    before: Task, outstanding: Outstanding, event: TaskEvent, pipelines: Pipelines
) -> list[DeadLetterStep]:
    try:
        command = _command(before, outstanding, pipelines)
    except PipelineUnknownError:
        # Without its pipeline the command cannot be made again. The task can be retried once the
        # file is back.
        return []
    return [DeadLetterStep(command, event.error or Error(), event)]


def _dead_letter_held(before: Task, event: TaskEvent, pipelines: Pipelines) -> list[DeadLetterStep]:
    """Dead-letter the command with which a held task would have begun."""
    spec = before.spec
    pipeline = pipelines.get(spec.pipeline, spec.pipeline_version)
    if pipeline is None:
        return []
    first = dispatch(
        spec,
        before.outputs,
        pipeline=pipeline,
        index=0,
        run=before.run,
        priority=before.priority,
        max_bytes=_NO_LIMIT,
    )
    if isinstance(first, Error):
        return []
    waiting = Outstanding(
        command_id=first.command_id,
        step=first.step,
        step_index=first.step_index,
        attempt=first.attempt,
        lane=first.lane,
        service=first.service,
        input=first.input,
        priority=before.priority,
        dispatched_at=event.occurred_at,
    )
    return _dead_letter(before, waiting, event, pipelines)


def _command(task: Task, outstanding: Outstanding, pipelines: Pipelines) -> StepCommand:
    spec = task.spec
    step = _step(task, outstanding, pipelines)
    return StepCommand(
        command_id=outstanding.command_id,
        task_id=spec.task_id,
        tenant_id=spec.tenant_id,
        run=task.run,
        step=outstanding.step,
        step_index=outstanding.step_index,
        attempt=outstanding.attempt,
        max_attempts=step.retry.max_attempts,
        pipeline=spec.pipeline,
        pipeline_version=spec.pipeline_version,
        service=outstanding.service,
        method=step.method,
        input=outstanding.input,
        priority=outstanding.priority,
        conversation_id=spec.conversation_id,
        timeout_ms=step.timeout_ms,
        deadline_at=task.deadline_at,
        dispatched_at=outstanding.dispatched_at,
    )


def _step(task: Task, outstanding: Outstanding, pipelines: Pipelines) -> PipelineStep:
    spec = task.spec
    pipeline = pipelines.get(spec.pipeline, spec.pipeline_version)
    if pipeline is None or not pipeline.has(outstanding.step, outstanding.step_index):
        raise PipelineUnknownError(
            f"{task.task_id}: {spec.pipeline} version {spec.pipeline_version} is not loaded, "
            f"or without step {outstanding.step} in its place"
        )
    return pipeline.steps[outstanding.step_index]
