"""What the log says: accepted events, and every state that a task ever had.

The reference that owners and readers are compared with. It has an acceptance rule and a fold
of its own, so that no switch can change it.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass, field

from msgspec.structs import replace

from schemas.records import EventKind, StepName, TaskEvent, TaskId, TaskStatus
from streams.history.acceptance import Ownership
from streams.ownership.ports import Snapshot, StateRecord
from tasks.apply import apply
from tasks.effects import Effect, effects
from tasks.pipeline import Pipelines
from tasks.remember import shrunk
from tasks.task import Task
from tests.simulation.broker import Entry

_LAST_STEP = StepName("generate")


class ViolationError(Exception):
    """An invariant does not hold. The message begins with its name."""


@dataclass(frozen=True, slots=True)
class AcceptedEvent:
    """An event that counts, with what follows from it."""

    offset: int
    request: int
    """The append that brought it: events of one batch have the same number."""
    event: TaskEvent
    after: Task
    effects: list[Effect]


@dataclass(slots=True)
class History:
    """Takes every record of ``task-events`` as it lands. Checks the log itself."""

    pipelines: Pipelines
    accepted: list[AcceptedEvent] = field(default_factory=list)
    by_cause: dict[tuple[str, int], AcceptedEvent] = field(default_factory=dict)
    forgotten: set[TaskId] = field(default_factory=set)
    """Tasks of which some owner once wrote a tombstone."""
    ignored: int = 0
    epochs: int = 0
    owner: Ownership | None = None
    _states: dict[TaskId, list[tuple[int, Task]]] = field(default_factory=dict)

    def add(self, offset: int, entry: Entry) -> None:
        event = entry.value
        assert isinstance(event, TaskEvent)
        by = Ownership(event.owner_epoch, event.owner)
        if event.kind is EventKind.OWNERSHIP_TAKEN:
            if event.owner_epoch == (self.owner.epoch if self.owner else 0) + 1:
                self.owner = by
                self.epochs += 1
        elif by == self.owner:
            self._accept(offset, entry.request, event)
        else:
            self.ignored += 1

    def note_tombstone(self, record: object) -> None:
        """A task was forgotten by someone."""
        assert isinstance(record, StateRecord)
        assert isinstance(record.content, Snapshot)
        self.forgotten.add(record.content.task_id)

    def tasks(self, below: int | None = None) -> dict[TaskId, Task]:
        """The tasks after all events, or those below an offset; completed ones shrunk."""
        found = {}
        for task_id, states in self._states.items():
            at = len(states) if below is None else bisect_left(states, below, key=lambda s: s[0])
            if at:
                found[task_id] = states[at - 1][1]
        return found

    def _accept(self, offset: int, request: int, event: TaskEvent) -> None:
        self._check_cause(offset, event)
        states = self._states.setdefault(event.task_id, [])
        last = states[-1][1] if states else None
        before = self._before(offset, event, last)
        after = apply(before, event)
        self._check_inputs(offset, event, before)
        states.append((offset, shrunk(after)))
        found = effects(before, event, after, self.pipelines)
        accepted = AcceptedEvent(offset, request, event, after, found)
        self.accepted.append(accepted)
        if event.cause_offset >= 0:
            self.by_cause[event.cause_topic, event.cause_offset] = accepted

    def _check_cause(self, offset: int, event: TaskEvent) -> None:
        twin = self.by_cause.get((event.cause_topic, event.cause_offset))
        if twin is not None:
            raise ViolationError(
                f"two_events: {event.cause_topic}@{event.cause_offset} has the accepted events "
                f"@{twin.offset} and @{offset}"
            )

    def _before(self, offset: int, event: TaskEvent, last: Task | None) -> Task | None:
        """The state that the event has to follow; None if it begins a life."""
        where = f"{event.task_id} {event.kind} @{offset}"
        if event.kind is EventKind.CREATED:
            if last is not None and not (last.status.terminal and event.task_id in self.forgotten):
                raise ViolationError(f"created_twice: {where}, its task is {last.status}")
            last = None
        elif last is None:
            raise ViolationError(f"sequence: {where} of an unknown task")
        expected = 1 if last is None else last.sequence + 1
        if event.sequence != expected:
            raise ViolationError(f"sequence: {where} has {event.sequence}, expected {expected}")
        answers = (EventKind.RETRIED, EventKind.COMMAND_REFUSED)
        if last is not None and last.status.terminal and event.kind not in answers:
            raise ViolationError(f"second_end: {where} after {last.status}")
        return last

    def _check_inputs(self, offset: int, event: TaskEvent, before: Task | None) -> None:
        """An output must come from the command that the log says was dispatched."""
        step = event.step
        if step is None or step.name != _LAST_STEP or step.output is None:
            return
        # Lives of one id share their command ids: a result that nobody read for longer than
        # tasks are remembered counts for the next life. The protocol does not prevent that.
        if event.task_id in self.forgotten:
            return
        assert before is not None
        assert before.outstanding is not None
        if json.loads(step.output)["from"] != before.outstanding.input:
            raise ViolationError(
                f"foreign_output: {event.task_id} @{offset} has an output that was made from "
                f"another input than {before.outstanding.input}"
            )


def same(left: Task | None, right: Task | None) -> bool:
    """True for equal states. ``decided`` may lack what was decided before a retry."""
    if left is None or right is None:
        return left is right
    return replace(left, decided={}) == replace(right, decided={})


def brief(task: Task | None) -> str:
    """A state in a few words."""
    if task is None:
        return "nothing"
    waiting = task.outstanding.command_id if task.outstanding else "nothing"
    return f"<{task.sequence} run {task.run} {task.status} waits for {waiting}>"


def ended(task: Task | None) -> bool:
    return task is not None and task.status.terminal and task.status is not TaskStatus.UNKNOWN
