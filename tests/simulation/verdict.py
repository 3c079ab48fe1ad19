"""The invariants that are judged by the whole world, during a run and at its end.

Those of the log alone are in :mod:`tests.simulation.history`.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.records import (
    CommandKind,
    EventKind,
    StepResult,
    TaskCommand,
    TaskCreated,
    TaskId,
)
from streams.ownership.owner import Owner
from tasks.effects import Broadcast, DeadLetterStep, SendStep
from tasks.remember import shrunk
from tasks.task import StepStatus, Task
from tests.simulation.broker import DEAD, INPUTS, STEPS, TOPICS, Broker
from tests.simulation.group import Group
from tests.simulation.history import AcceptedEvent, History, ViolationError, brief, same
from tests.simulation.world import DeadLetteredInput


class Verdict:
    """Compares what the parts of the system hold with what the log says."""

    def __init__(self, broker: Broker, group: Group, history: History) -> None:
        self._broker, self._group, self._history = broker, group, history

    def at_takeover(self, process: str, owner: Owner) -> None:
        """An owner that begins to decide remembers what the log says."""
        next_offset = owner._log.next_offset
        self._broker.trace.add(
            self._broker.now, process, "OWNS epoch", owner._log.ownership.epoch, "at", next_offset
        )
        self._same_tasks("memory", process, owner._decider.tasks, self._history.tasks(next_offset))

    def at_end(self, owners: Mapping[str, Owner]) -> None:
        """Everything came to its end: compare everything."""
        self._every_input_is_accounted_for()
        self._every_result_counts_for_its_attempt()
        self._every_effect_was_done()
        for task_id, task in self._history.tasks().items():
            if not task.status.terminal:
                raise ViolationError(f"never_ends: {task_id} {brief(task)}")
        for process, owner in owners.items():
            self._same_tasks("memory", process, owner._decider.tasks, self._history.tasks())

    def reader(self, name: str, tasks: Mapping[TaskId, Task], *, forgets: bool) -> None:
        """A reader holds what the log says; a replica may lack what was forgotten."""
        self._same_tasks("reader", name, tasks, self._history.tasks(), forgets=forgets)

    def _same_tasks(
        self,
        code: str,
        who: str,
        found: Mapping[TaskId, Task],
        expected: Mapping[TaskId, Task],
        *,
        forgets: bool = True,
    ) -> None:
        for task_id in sorted({*found, *expected}):
            mine, told = found.get(task_id), expected.get(task_id)
            gone = forgets and task_id in self._history.forgotten
            if mine is None and gone and told is not None and told.status.terminal:
                continue
            if not same(None if mine is None else shrunk(mine), told):
                raise ViolationError(
                    f"{code}: {who} has {task_id} {brief(mine)}, the log says {brief(told)}"
                )

    def _every_input_is_accounted_for(self) -> None:
        letters = {
            (entry.value.topic, entry.value.offset)
            for entry in self._broker.topic(DEAD)
            if entry is not None and isinstance(entry.value, DeadLetteredInput)
        }
        for topic in INPUTS:
            for offset in range(self._group.highest[topic]):
                if (topic, offset) in letters or (topic, offset) in self._history.by_cause:
                    continue
                entry = self._broker.topic(topic)[offset]
                assert entry is not None
                if not self._may_be_ignored(offset, entry.value):
                    raise ViolationError(f"input_lost: {topic}@{offset} {entry.value}")

    def _may_be_ignored(self, offset: int, record: object) -> bool:
        """True for an input that rightly has neither event nor dead letter."""
        match record:
            case TaskCreated():
                return any(
                    accepted.event.kind is EventKind.CREATED
                    and accepted.event.task_id == record.task_id
                    and accepted.event.cause_offset < offset
                    for accepted in self._history.accepted
                )
            case TaskCommand():
                return record.kind is CommandKind.RETRY and record.run is not None
            case StepResult():
                return any(_settles(accepted, record) for accepted in self._history.accepted)
        return False

    def _every_result_counts_for_its_attempt(self) -> None:
        for (topic, offset), accepted in self._history.by_cause.items():
            entry = self._broker.topic(topic)[offset]
            if entry is None or not isinstance(entry.value, StepResult):
                continue
            if not _settles(accepted, entry.value):
                raise ViolationError(
                    f"foreign_result: {entry.value.command_id} decided {accepted.event.kind} of "
                    f"another attempt @{accepted.offset}"
                )

    def _every_effect_was_done(self) -> None:
        effects = [entry.value for name in (STEPS, DEAD, TOPICS.control) for entry in
                   self._broker.topic(name) if entry is not None]  # fmt: skip
        commands = {e.command.command_id for e in effects if isinstance(e, SendStep)}
        dead_lettered = {e.event.event_id for e in effects if isinstance(e, DeadLetterStep)}
        broadcasts = [e.control for e in effects if isinstance(e, Broadcast)]
        for accepted in self._history.accepted:
            for effect in accepted.effects:
                match effect:
                    case SendStep(command=command):
                        name = command.command_id
                        done = name in commands or self._abandoned(accepted, name)
                    case DeadLetterStep(event=event):
                        done = event.event_id in dead_lettered
                    case Broadcast(control=control):
                        done = control in broadcasts
                if not done:
                    event = accepted.event
                    raise ViolationError(
                        f"effect_missing: {type(effect).__name__} of {event.kind} of "
                        f"{event.task_id} @{accepted.offset}"
                    )

    def _abandoned(self, dispatched: AcceptedEvent, command_id: str) -> bool:
        """True if the very batch that dispatched a command ended its attempt, too.

        Later batches do not count: before them the command was sent, or sent again.
        """
        return any(
            other.request == dispatched.request
            and other.event.step is not None
            and other.event.step.command_id == command_id
            and other.event.step.status == StepStatus.CANCELLED
            for other in self._history.accepted
        )


def _settles(accepted: AcceptedEvent, result: StepResult) -> bool:
    """True for an event that ends, or starts, the attempt that a result is about."""
    step = accepted.event.step
    return step is not None and step.command_id == result.command_id
