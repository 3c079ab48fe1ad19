"""The records of a two-step task, with all that ours hold, made without a rule. Pure.

What :mod:`tasks.decide` makes of the same inputs has the same fields. Here nothing is checked: not
the input, not whether a result is the one that its task waits for, not a size. A template is
filled by writing one text into another.
"""

from __future__ import annotations

from aiokafka import ConsumerRecord

from benchmarks.chains.raw import STEPS, output_of
from schemas.records import (
    CommandId,
    DispatchedStep,
    EventKind,
    Json,
    Lane,
    Millis,
    ResultKind,
    StepCommand,
    StepOutcome,
    StepResult,
    TaskCreated,
    TaskEvent,
    TaskId,
    TaskSpec,
    TaskStatus,
    Usage,
)
from tasks.task import Task

WRITER = "fair-floor-1"
_SERVICE, _METHODS = "noop", ("First", "Second")
_TIMEOUT_MS, _MAX_ATTEMPTS, _DEFAULT_MS = 10_000, 4, 300_000


def created_event(record: ConsumerRecord, created: TaskCreated, at: Millis) -> TaskEvent:
    """The first event of a task, with its first step."""
    spec = _spec(created, at)
    return TaskEvent(
        event_id=f"{spec.task_id}/1",
        task_id=spec.task_id,
        tenant_id=spec.tenant_id,
        kind=EventKind.CREATED,
        sequence=1,
        run=1,
        status=TaskStatus.PENDING,
        phase="queued",
        priority=spec.priority,
        occurred_at=at,
        owner=WRITER,
        owner_epoch=1,
        cause_topic=record.topic,
        cause_partition=record.partition,
        cause_offset=record.offset,
        task=spec,
        dispatched=[_dispatched(spec.task_id, 0, spec.input)],
        usage=Usage(),
    )


def result_event(task: Task, record: ConsumerRecord, result: StepResult, at: Millis) -> TaskEvent:
    """The event after a result: the next step, or the end of the task."""
    last = result.step == STEPS[-1]
    output = result.output or Json("null")
    sequence = task.sequence + 1
    return TaskEvent(
        event_id=f"{result.task_id}/{sequence}",
        task_id=result.task_id,
        tenant_id=result.tenant_id,
        kind=EventKind.COMPLETED if last else EventKind.STEP_SUCCEEDED,
        sequence=sequence,
        run=result.run,
        status=TaskStatus.COMPLETED if last else TaskStatus.RUNNING,
        phase="completed" if last else "queued",
        priority=task.priority,
        occurred_at=at,
        owner=WRITER,
        owner_epoch=1,
        cause_topic=record.topic,
        cause_partition=record.partition,
        cause_offset=record.offset,
        step=_outcome(result, output),
        dispatched=[]
        if last
        else [_dispatched(result.task_id, 1, Json('{"first":' + output + "}"))],
        output=output if last else None,
        usage=task.usage,
    )


def command_of(task: Task, step: DispatchedStep) -> StepCommand:
    """The command of a step that an event dispatched."""
    spec = task.spec
    return StepCommand(
        command_id=step.command_id,
        task_id=spec.task_id,
        tenant_id=spec.tenant_id,
        run=1,
        step=step.step,
        step_index=step.step_index,
        attempt=1,
        max_attempts=_MAX_ATTEMPTS,
        pipeline=spec.pipeline,
        pipeline_version=spec.pipeline_version,
        service=_SERVICE,
        method=_METHODS[step.step_index],
        input=step.input,
        priority=spec.priority,
        conversation_id=spec.conversation_id,
        timeout_ms=_TIMEOUT_MS,
        deadline_at=spec.deadline_at,
        dispatched_at=task.updated_at,
    )


def result_of(record: ConsumerRecord, command: StepCommand, at: Millis) -> StepResult:
    """What a worker answers, without a call."""
    return StepResult(
        command_id=command.command_id,
        task_id=command.task_id,
        tenant_id=command.tenant_id,
        run=command.run,
        step=command.step,
        attempt=command.attempt,
        kind=ResultKind.SUCCEEDED,
        output=output_of(command.step),
        command_topic=record.topic,
        command_partition=record.partition,
        command_offset=record.offset,
        worker=WRITER,
        started_at=at,
        completed_at=at,
    )


def _spec(created: TaskCreated, at: Millis) -> TaskSpec:
    timeout_ms = created.timeout_ms or _DEFAULT_MS
    return TaskSpec(
        task_id=created.task_id,
        tenant_id=created.tenant_id,
        type=created.type,
        input=created.input,
        priority=created.priority,
        metadata=created.metadata,
        timeout_ms=timeout_ms,
        deadline_at=Millis(at + timeout_ms),
        pipeline=created.type,
        pipeline_version=1,
        created_at=at,
    )


def _dispatched(task_id: TaskId, index: int, given: Json) -> DispatchedStep:
    return DispatchedStep(
        command_id=CommandId(f"{task_id}/1/{STEPS[index]}/1"),
        step=STEPS[index],
        step_index=index,
        service=_SERVICE,
        attempt=1,
        lane=Lane.NORMAL,
        input=given,
    )


def _outcome(result: StepResult, output: Json) -> StepOutcome:
    return StepOutcome(
        command_id=result.command_id,
        name=result.step,
        step_index=STEPS.index(result.step),
        service=_SERVICE,
        attempt=result.attempt,
        status="succeeded",
        output=output,
        started_at=result.started_at,
        completed_at=result.completed_at,
        worker=result.worker,
        command_topic=result.command_topic,
        command_partition=result.command_partition,
        command_offset=result.command_offset,
    )
