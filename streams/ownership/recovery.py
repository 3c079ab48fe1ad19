"""An owner's memory, rebuilt from the log. Pure: the reading is done by the caller."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.records import EventKind, Millis, TaskEvent, TaskId
from streams.ownership.acceptance import Ownership, accept
from tasks.apply import apply
from tasks.effects import Effect, SendStep, effects
from tasks.pipeline import Pipelines
from tasks.task import Task

log = structlog.get_logger()

REDO_TIMERS_MS = 3_600_000
"""Effects of events without a cause are done again if they are younger. Such an effect tells
workers to stop a call, and no call lives for an hour."""


@dataclass(slots=True)
class Recovery:
    """Folds the events of one partition, and keeps the effects that may not have been done.

    ``committed`` holds, for each input topic, the offset up to which our group has committed
    this partition: the effects of an event whose cause lies below were done before.
    """

    pipelines: Pipelines
    committed: Mapping[str, int]
    now: Millis
    ownership: Ownership | None = None
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    _effects: list[tuple[TaskId, Effect]] = field(default_factory=list)

    def fold(self, record: Origin) -> None:
        """Take the next record of ``task-events``.

        A record that does not decode was written by nobody who owns the partition; the sink
        dead-letters it, here it is only passed over.
        """
        try:
            event = decode(record.value, TaskEvent)
        except DecodeError as error:
            log.warning("event_undecodable", offset=record.offset, code=error.code)
            return
        accepted = accept(self.ownership, event)
        if accepted is None:
            return
        self.ownership = accepted
        if event.kind is not EventKind.OWNERSHIP_TAKEN:
            self._apply(event)

    def redo(self) -> list[tuple[TaskId, Effect]]:
        """The effects to do again, in the order of their events.

        A command whose result is in the log is left out: its task waits for another one, or
        for none.
        """
        return [(task_id, effect) for task_id, effect in self._effects if self._open(effect)]

    def _apply(self, event: TaskEvent) -> None:
        before = self.tasks.get(event.task_id)
        if before is None and event.task is None:
            # The beginning of this task has left the log by retention: it is long over.
            return
        after = apply(before, event)
        self.tasks[event.task_id] = after
        if self._may_be_undone(event):
            for effect in effects(before, event, after, self.pipelines):
                self._effects.append((event.task_id, effect))

    def _may_be_undone(self, event: TaskEvent) -> bool:
        if event.cause_offset < 0:
            return event.occurred_at > self.now - REDO_TIMERS_MS
        return event.cause_offset >= self.committed.get(event.cause_topic, 0)

    def _open(self, effect: Effect) -> bool:
        if not isinstance(effect, SendStep):
            return True
        outstanding = self.tasks[effect.command.task_id].outstanding
        return outstanding is not None and outstanding.command_id == effect.command.command_id
