"""Apply: the fold of a task's events into its state. Pure, and total over accepted events."""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from schemas.errors import OrchestratorError
from schemas.records import (
    EventKind,
    Json,
    Millis,
    StepName,
    TaskEvent,
    TaskSpec,
    TaskStatus,
    Usage,
)
from tasks.lane import lane_of
from tasks.task import Outstanding, Phase, StepStatus, Task, command_id_of


class SequenceError(OrchestratorError):
    """An event is not the next one of its task: the reader missed or repeated an event.

    State and log contradict each other. A reader must stop and rebuild its state; otherwise it
    would decide by a state that never existed.
    """

    code = "SEQUENCE_NOT_NEXT"


def apply(task: Task | None, event: TaskEvent) -> Task:
    """The state after an accepted event.

    A fold may begin (``task`` is None) with ``created`` or with ``retried``, which carries
    the whole task. If an id begins a new life after its task was forgotten, pass None.

    Raises:
        SequenceError: the event's sequence is not the next, or a task cannot begin with the event.
    """
    expected = 1 if task is None else task.sequence + 1
    begins = event.task is not None and event.kind in (EventKind.CREATED, EventKind.RETRIED)
    anywhere = task is None and event.kind is EventKind.RETRIED
    if event.sequence != expected and not anywhere:
        raise SequenceError(f"{event.event_id}: expected sequence {expected}")
    if begins and event.task is not None:
        return _begun(task, event, event.task)
    if task is None:
        raise SequenceError(f"{event.event_id}: a task cannot begin with {event.kind}")
    if event.kind is EventKind.COMMAND_REFUSED:
        return replace(task, sequence=event.sequence, decided=_decided(task, event))
    return _changed(task, event)


def fold(task: Task | None, event: TaskEvent) -> Task | None:
    """As :func:`apply`, for a reader that may know a task without its beginning, or with a gap.

    ``created`` begins a new life, ``retried`` carries the whole task; after any other event an
    unknown task stays unknown (None). An event that is not the next one is ignored: the state was
    taken at a later time.
    """
    if event.kind is EventKind.CREATED:
        return apply(None, event)
    next_one = task is not None and event.sequence == task.sequence + 1
    if not next_one and event.kind is EventKind.RETRIED and event.task is not None:
        return apply(None, event)
    return apply(task, event) if next_one else task


def _begun(task: Task | None, event: TaskEvent, spec: TaskSpec) -> Task:
    """The first state of a run; a retry keeps only the decided offsets of the task before it."""
    return Task(
        spec=msgspec.structs.replace(spec, kept_outputs={}),
        run=event.run,
        status=event.status,
        phase=_phase(event),
        priority=event.priority,
        sequence=event.sequence,
        outputs={StepName(step): output for step, output in spec.kept_outputs.items()},
        outstanding=_dispatched(None, event),
        usage=event.usage or Usage(),
        output=None,
        error=None,
        created_at=spec.created_at,
        started_at=None,
        completed_at=None,
        updated_at=event.occurred_at,
        deadline_at=spec.deadline_at,
        decided=_decided(task, event),
    )


def _changed(task: Task, event: TaskEvent) -> Task:
    ended = event.status.terminal
    return replace(
        task,
        status=event.status,
        phase=_phase(event),
        priority=event.priority,
        sequence=event.sequence,
        outputs=_outputs(task, event),
        outstanding=None if ended else _outstanding(task.outstanding, event),
        usage=event.usage or task.usage,
        output=event.output,
        error=event.error,
        started_at=_started_at(task, event),
        completed_at=event.occurred_at if ended else None,
        updated_at=event.occurred_at,
        decided=_decided(task, event),
    )


def _phase(event: TaskEvent) -> Phase:
    """The event's phase; for a phase of a newer writer, the phase that fits the event's status."""
    if event.phase in _PHASES:
        return Phase(event.phase)
    return _PHASE_OF_STATUS.get(event.status, Phase.QUEUED)


def _outputs(task: Task, event: TaskEvent) -> Mapping[StepName, Json]:
    step = event.step
    if step is None or step.status != StepStatus.SUCCEEDED or step.output is None:
        return task.outputs
    return {**task.outputs, step.name: step.output}


def _started_at(task: Task, event: TaskEvent) -> Millis | None:
    if task.started_at is not None or event.step is None:
        return task.started_at
    return event.step.started_at


def _outstanding(before: Outstanding | None, event: TaskEvent) -> Outstanding | None:
    """The attempt that a task waits for after an event that did not end it."""
    if event.dispatched:
        return _dispatched(before, event)
    if before is None:
        return None
    match event.kind:
        case EventKind.STARTED:
            return replace(before, due_at=None)
        case EventKind.STEP_RETRY_SCHEDULED:
            return _scheduled(before, event)
        case EventKind.PRIORITY_CHANGED if before.due_at is not None:
            return replace(before, lane=lane_of(event.priority))
    return before


def _dispatched(before: Outstanding | None, event: TaskEvent) -> Outstanding | None:
    if not event.dispatched:
        return None
    step = event.dispatched[0]
    if before is not None and before.command_id == step.command_id:
        # The same command moves to another lane, byte for byte.
        return replace(before, lane=step.lane, due_at=None)
    return Outstanding(
        command_id=step.command_id,
        step=step.step,
        step_index=step.step_index,
        attempt=step.attempt,
        lane=step.lane,
        service=step.service,
        input=step.input,
        priority=event.priority,
        dispatched_at=event.occurred_at,
    )


def _scheduled(before: Outstanding, event: TaskEvent) -> Outstanding:
    """The next attempt of the same step."""
    attempt = before.attempt + 1
    return replace(
        before,
        command_id=command_id_of(event.task_id, run=event.run, step=before.step, attempt=attempt),
        attempt=attempt,
        lane=lane_of(event.priority),
        priority=event.priority,
        dispatched_at=event.occurred_at,
        due_at=event.step.next_attempt_at if event.step else event.occurred_at,
    )


def _decided(task: Task | None, event: TaskEvent) -> Mapping[str, int]:
    before = {} if task is None else task.decided
    if event.cause_offset < 0:
        return before
    return {**before, event.cause_topic: event.cause_offset}


_PHASES = frozenset(Phase)
_PHASE_OF_STATUS = {
    TaskStatus.RUNNING: Phase.STEP_RUNNING,
    TaskStatus.COMPLETED: Phase.COMPLETED,
    TaskStatus.FAILED: Phase.FAILED,
    TaskStatus.CANCELLED: Phase.CANCELLED,
}
