"""An owner's memory, rebuilt from snapshots and the log. Pure: the caller reads.

1. :meth:`Recovery.load` takes every record of ``task-state``.
2. :meth:`Recovery.start_at` says from where the log has to be read.
3. :meth:`Recovery.fold` takes every record of ``task-events`` from there.
4. :meth:`Recovery.redo` says which effects may not have been done.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from schemas.records import EventKind, TaskEvent, TaskId
from streams.errors import TopicsDifferError
from streams.ownership.acceptance import Ownership, accept
from streams.ownership.ports import Checkpoint, Logged, Snapshot, StateRecord
from tasks.apply import fold
from tasks.effects import Effect, SendStep, effects
from tasks.pipeline import Pipelines, PipelineUnknownError
from tasks.remember import shrunk
from tasks.task import Task

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Recovery:
    """Folds what former owners left of one partition.

    ``committed`` holds, for each input topic, the offset up to which our group has committed
    this partition: the effects of an event whose cause lies below were done before.
    """

    pipelines: Pipelines
    committed: Mapping[str, int]
    created_topic: str
    partitions: int
    ownership: Ownership | None = None
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    touched: set[TaskId] = field(default_factory=set)
    """Tasks whose newest snapshot is older than what is known now."""
    decided_created: int = -1
    """The highest offset of ``task-created`` that was decided."""
    orphans: set[tuple[str, int]] = field(default_factory=set)
    """Topic and offset of inputs that were decided for tasks that are not remembered."""
    _checkpoint: StateRecord | None = None
    _newest: dict[TaskId, StateRecord] = field(default_factory=dict)
    _as_of: dict[TaskId, int] = field(default_factory=dict)
    _effects: list[tuple[TaskId, Effect]] = field(default_factory=list)

    def load(self, record: StateRecord) -> None:
        """Take the next record of ``task-state``; the newest one of each key counts.

        Raises:
            TopicsDifferError: the checkpoint is of a system with another number of
                partitions: tasks would be looked for in the wrong ones.
        """
        match record.content:
            case Snapshot(task_id=task_id):
                self._newest.pop(task_id, None)
                self._newest[task_id] = record
            case Checkpoint(partitions=partitions):
                if partitions != self.partitions:
                    raise TopicsDifferError(
                        f"a checkpoint speaks of {partitions} partitions, not {self.partitions}"
                    )
                self._checkpoint = record

    def start_at(self, first: int) -> int:
        """Use what was loaded; return the offset from which the log has to be read.

        Args:
            first: the first offset of the log that is still there.
        """
        start = first
        if self._checkpoint is not None and isinstance(self._checkpoint.content, Checkpoint):
            start = max(first, self._checkpoint.content.offset)
            self.ownership = self._checkpoint.by
            self.decided_created = self._checkpoint.content.decided_created
        start = self._use_snapshots(start)
        self._newest.clear()
        return max(first, start)

    def fold(self, record: Logged) -> None:
        """Take the next record of ``task-events``.

        What nobody can read was written by nobody who owns the partition; the sink
        dead-letters it, here it is only passed over.
        """
        if record.event is None:
            log.warning("event_undecodable", offset=record.offset)
            return
        accepted = accept(self.ownership, record.event)
        if accepted is None:
            return
        self.ownership = accepted
        if record.event.kind is not EventKind.OWNERSHIP_TAKEN:
            self._apply(record.event, record.offset)

    def redo(self) -> list[tuple[TaskId, Effect]]:
        """The effects to do again, in the order of their events.

        A command whose result is in the log is left out: its task waits for another one, or
        for none.
        """
        return [(task_id, effect) for task_id, effect in self._effects if self._open(effect)]

    def _use_snapshots(self, start: int) -> int:
        late: tuple[int, Ownership] | None = None
        for task_id, record in self._newest.items():
            snapshot = record.content
            if not isinstance(snapshot, Snapshot):
                continue
            self._as_of[task_id] = snapshot.as_of
            if snapshot.task is not None:
                self.tasks[task_id] = snapshot.task
            if self._is_late(record):
                self.touched.add(task_id)
                if snapshot.as_of < start and (late is None or snapshot.as_of < late[0]):
                    late = (snapshot.as_of, record.by)
        if late is None:
            return start
        start, self.ownership = late
        return start

    def _is_late(self, record: StateRecord) -> bool:
        """True if a former owner wrote this after the checkpoint's writer last looked."""
        checkpoint = self._checkpoint
        if checkpoint is None or not isinstance(checkpoint.content, Checkpoint):
            return False
        former = record.by.epoch < checkpoint.by.epoch
        return former and record.offset >= checkpoint.content.state_from

    def _apply(self, event: TaskEvent, offset: int) -> None:
        if event.cause_topic == self.created_topic:
            self.decided_created = max(self.decided_created, event.cause_offset)
        self.touched.add(event.task_id)
        if offset < self._as_of.get(event.task_id, 0):
            # In the snapshot already, and a snapshot is written when all effects are done.
            return
        before = self.tasks.get(event.task_id)
        after = fold(before, event)
        if after is None or after is before:
            # A former owner forgot it, late, or its beginning has left the log by retention.
            # It has ended; but its last inputs may be delivered again.
            if after is None:
                self.orphans.add((event.cause_topic, event.cause_offset))
            return
        self.tasks[event.task_id] = shrunk(after)
        if self._may_be_undone(event):
            self._note_effects(before, event, after)

    def _may_be_undone(self, event: TaskEvent) -> bool:
        """True for a timer's event, and for one whose cause will be delivered again."""
        return event.cause_offset < 0 or (
            event.cause_offset >= self.committed.get(event.cause_topic, 0)
        )

    def _note_effects(self, before: Task | None, event: TaskEvent, after: Task) -> None:
        try:
            found = effects(before, event, after, self.pipelines)
        except PipelineUnknownError as error:
            # Its file was taken away: the task ends by its deadline, the others go on.
            log.error("effect_not_redone", task_id=event.task_id, code=error.code)
            return
        self._effects += [(event.task_id, effect) for effect in found]

    def _open(self, effect: Effect) -> bool:
        if not isinstance(effect, SendStep):
            return True
        task = self.tasks.get(effect.command.task_id)
        outstanding = None if task is None else task.outstanding
        return outstanding is not None and outstanding.command_id == effect.command.command_id
