"""Rebuilds an owner's memory from snapshots and the log. Pure: the caller reads.

1. :meth:`Recovery.load` takes every record of ``task-state``, :meth:`Recovery.know_topics` the
   broker's answers about the inputs.
2. :meth:`Recovery.start_at` returns the offset from which the log has to be read.
3. :meth:`Recovery.fold` takes every record of ``task-events`` from there.
4. :meth:`Recovery.redo` returns the effects that may not have been done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from msgspec.structs import replace

from schemas.records import EventKind, TaskEvent, TaskId
from streams.errors import SnapshotUnreadableError, TopicReplacedError, TopicsDifferError
from streams.history.acceptance import Ownership, accept, owner_before_first_marker
from streams.ownership.ports import (
    ADOPTION,
    CHECKPOINT,
    Adoption,
    Checkpoint,
    Committed,
    Logged,
    Snapshot,
    StateRecord,
    Unreadable,
)
from streams.ownership.remembered import check_ends, check_log_start, topics_made_again
from streams.ownership.task_traces import TaskTraces
from tasks.apply import fold
from tasks.effects import Effect, SendStep, effects
from tasks.pipeline import Pipelines, PipelineUnknownError
from tasks.remember import shrunk
from tasks.task import Task

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Recovery:
    """Folds the records that former owners left of one partition."""

    pipelines: Pipelines
    created_topic: str
    events_topic: str
    state_topic: str
    partitions: int
    committed: Mapping[str, Committed] = field(default_factory=dict)
    """For each input topic, up to where our group has committed this partition: the effects of an
    event whose cause lies below were done before, if its owner committed, or a later one."""
    topic_ids: Mapping[str, str] = field(default_factory=dict)
    """The ids of the topics that exist now; empty if the broker knows no ids."""
    input_ends: Mapping[str, int] = field(default_factory=dict)
    """The current ends of the input topics."""
    owner_unknown: bool = False
    """Records between the checkpoint and the log's start were given up: see ``find_owner``."""
    made_again: frozenset[str] = frozenset()
    """Input topics that an operator adopted as made again: their offsets are not remembered."""
    ownership: Ownership | None = None
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    traces: TaskTraces = field(default_factory=TaskTraces)
    touched: set[TaskId] = field(default_factory=set)
    """Tasks whose newest snapshot is older than their state."""
    decided_created: int = -1
    """The highest offset of ``task-created`` that was decided."""
    orphans: set[tuple[str, int]] = field(default_factory=set)
    """Topic and offset of inputs that were decided for tasks that are not remembered."""
    _checkpoint: StateRecord | None = None
    _log_from: int = 0
    """Events before this offset were given up together with the snapshots."""
    _decided_from: int = 0
    """From this offset of the log on, events show how far ``task-created`` was decided."""
    _adoptions: dict[str, Adoption] = field(default_factory=dict)
    _adopted_at: dict[str, int] = field(default_factory=dict)
    """The offset of each adoption in ``task-state``."""
    _unreadable: dict[str | None, StateRecord] = field(default_factory=dict)
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
                self._unreadable.pop(task_id, None)
                self._newest.pop(task_id, None)
                self._newest[task_id] = record
            case Unreadable(key=key):
                self._unreadable[key] = record
            case Adoption(topic=topic):
                self._unreadable.pop(ADOPTION + topic, None)
                self._adoptions[topic] = record.content
                self._adopted_at[topic] = record.offset
            case Checkpoint(partitions=partitions):
                if partitions != self.partitions:
                    raise TopicsDifferError(
                        f"a checkpoint speaks of {partitions} partitions, not {self.partitions}"
                    )
                self._checkpoint = record
                self._unreadable.pop(CHECKPOINT, None)

    def know_topics(
        self, *, committed: Mapping[str, Committed], ends: Mapping[str, int], ids: Mapping[str, str]
    ) -> None:
        """Take the broker's current view of the topics; call it after ``task-state`` was read."""
        self.committed, self.input_ends, self.topic_ids = committed, ends, ids

    def start_at(self, first: int) -> int:
        """Use what was loaded; return the offset from which the log has to be read.

        Args:
            first: the first offset of the log that is still there.

        Raises:
            SnapshotUnreadableError: a snapshot cannot be read, and the log is not complete either.
            TopicReplacedError: remembered offsets belong to another topic of the same name.
            LogTrimmedError: the log has lost events after the checkpoint.
        """
        self._drop_given_up()
        if self._unreadable:
            self._give_up_snapshots(first)
        self._check_snapshots(first)
        start = 0
        if self._checkpoint is not None and isinstance(self._checkpoint.content, Checkpoint):
            start = self._use_checkpoint(self._checkpoint.content, self._checkpoint.by)
        start = self._use_snapshots(start)
        self._newest.clear()
        given_up = check_log_start(
            self.events_topic,
            first=first,
            wanted=max(start, self._log_from),
            adoption=self._adoptions.get(self.events_topic),
            topic_id=self.topic_ids.get(self.events_topic),
        )
        self.owner_unknown = given_up or self._log_from > 0
        return max(first, start)

    def find_owner(self, first_records: Sequence[Logged]) -> None:
        """Find the owner by the events that are left, as the markers before them are gone.

        Args:
            first_records: the first ones of the log. If empty, the checkpoint's owner stays.
        """
        if first_records:
            events = (record.event for record in first_records if record.event is not None)
            self.ownership = owner_before_first_marker(events)
        self.owner_unknown = False

    def _drop_given_up(self) -> None:
        """Skip unreadable records that an operator gave up by adopting ``task-state``."""
        adoption = self._adoptions.get(self.state_topic)
        if adoption is None or adoption.topic_id != self.topic_ids.get(self.state_topic):
            return
        before = self._adopted_at[self.state_topic]
        kept = {key: r for key, r in self._unreadable.items() if r.offset > before}
        if len(kept) < len(self._unreadable):
            log.error("snapshots_given_up", count=len(self._unreadable) - len(kept))
        self._unreadable = kept

    def _check_snapshots(self, first: int) -> None:
        """Detect that ``task-state`` was made again while an owner went on writing into it.

        The snapshots of all tasks that have not changed since then are missing.

        Raises:
            TopicReplacedError: the log is not complete either, and no operator gave up the records
                that both have lost.
        """
        checkpoint = self._checkpoint
        if checkpoint is None or not isinstance(checkpoint.content, Checkpoint):
            return
        written_to = checkpoint.content.topics.get(self.state_topic)
        current = self.topic_ids.get(self.state_topic)
        if None in (written_to, current) or written_to == current:
            return
        adoption = self._adoptions.get(self.state_topic)
        if first > 0 and (adoption is None or adoption.topic_id != current):
            raise TopicReplacedError(
                f"{self.state_topic} has the id {current}, its checkpoint was written for "
                f"{written_to}, and the log begins at {first}: what neither holds is given up "
                "with `orchestrator topics adopt task-state --as again`"
            )
        log.error("snapshots_incomplete", topic=self.state_topic, read_instead="the whole log")
        self._newest.clear()
        self._checkpoint = None
        self._log_from = first

    def _give_up_snapshots(self, first: int) -> None:
        """Read the whole log instead of the snapshots, because one of them cannot be read."""
        record = next(iter(self._unreadable.values()))
        reason = record.content.reason if isinstance(record.content, Unreadable) else ""
        if first > 0:
            raise SnapshotUnreadableError(
                f"{self.state_topic} at offset {record.offset}, written by "
                f"{record.by.owner or 'nobody knows whom'}: {reason}"
            )
        log.error(
            "snapshots_unreadable",
            count=len(self._unreadable),
            offset=record.offset,
            reason=reason[:200],
            read_instead="the whole log",
        )
        self._newest.clear()
        self._unreadable.clear()
        self._checkpoint = None

    def _use_checkpoint(self, checkpoint: Checkpoint, by: Ownership) -> int:
        self.made_again = topics_made_again(
            checkpoint, self.topic_ids, self._adoptions, snapshots_topic=self.state_topic
        )
        decided = {self.created_topic: checkpoint.decided_created}
        check_ends(decided, self.input_ends, self.made_again)
        self.ownership = by
        self._decided_from = checkpoint.offset
        if self.created_topic not in self.made_again:
            self.decided_created = checkpoint.decided_created
        self._use_orphans(checkpoint)
        return checkpoint.offset

    def _use_orphans(self, checkpoint: Checkpoint) -> None:
        for topic, offsets in checkpoint.orphans.items():
            if topic not in self.made_again:
                self.orphans.update((topic, offset) for offset in offsets)

    def fold(self, record: Logged) -> None:
        """Take the next record of ``task-events``.

        A record that cannot be decoded was not written by an owner; it is skipped here, and the
        sink dead-letters it.
        """
        if record.event is None:
            log.warning("event_undecodable", offset=record.offset)
            return
        accepted = accept(self.ownership, record.event)
        if accepted is None:
            return
        self.ownership = accepted
        if record.event.kind is not EventKind.OWNERSHIP_TAKEN:
            self._apply(record.event, record)

    def redo(self) -> list[tuple[TaskId, Effect]]:
        """The effects to do again, in the order of their events.

        A command whose result is in the log is left out: its task no longer waits for that
        command.
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
                self.tasks[task_id] = self._known(snapshot.task)
                self.traces.note(snapshot.task, snapshot.trace)
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

    def _apply(self, event: TaskEvent, record: Logged) -> None:
        offset = record.offset
        # Decisions below the checkpoint are in the checkpoint, and may be of a topic's former life.
        counts = offset >= self._decided_from and self.created_topic not in self.made_again
        if event.cause_topic == self.created_topic and counts:
            self.decided_created = max(self.decided_created, event.cause_offset)
        self.touched.add(event.task_id)
        if offset < self._as_of.get(event.task_id, 0):
            # Already in the snapshot, and a snapshot is written after all effects are done.
            return
        before = self.tasks.get(event.task_id)
        after = fold(before, event)
        if after is None or after is before:
            # A former owner forgot the task, late, or retention removed its beginning from the log.
            # The task has ended; but its last inputs may be delivered again.
            if after is None:
                self.orphans.add((event.cause_topic, event.cause_offset))
            return
        self.tasks[event.task_id] = self._known(shrunk(after))
        self.traces.note(after, record.trace)
        if self._may_be_undone(event):
            self._note_effects(before, event, after)

    def _known(self, task: Task) -> Task:
        """The task without the offsets of topics that were made again."""
        if not self.made_again:
            return task
        self.touched.add(task.task_id)
        decided = {t: offset for t, offset in task.decided.items() if t not in self.made_again}
        return replace(task, decided=decided)

    def _may_be_undone(self, event: TaskEvent) -> bool:
        """True for an event of a timer, for one whose cause will be delivered again, and for one
        whose cause a former owner acknowledged, who had refused it and knew nothing of the event.
        """
        found = self.committed.get(event.cause_topic)
        if event.cause_offset < 0 or found is None or event.cause_offset >= found.offset:
            return True
        return found.epoch is not None and event.owner_epoch > found.epoch

    def _note_effects(self, before: Task | None, event: TaskEvent, after: Task) -> None:
        try:
            found = effects(before, event, after, self.pipelines)
        except PipelineUnknownError as error:
            # Its pipeline file was removed: this task ends by its deadline, the others go on.
            log.error("effect_not_redone", task_id=event.task_id, code=error.code)
            return
        self._effects += [(event.task_id, effect) for effect in found]

    def _open(self, effect: Effect) -> bool:
        if not isinstance(effect, SendStep):
            return True
        task = self.tasks.get(effect.command.task_id)
        outstanding = None if task is None else task.outstanding
        return outstanding is not None and outstanding.command_id == effect.command.command_id
