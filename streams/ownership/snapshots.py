"""The owner's snapshots in ``task-state``, which spare a successor most of the log."""

from __future__ import annotations

from collections.abc import Mapping, Set

from schemas.records import Millis, TaskId
from streams.errors import OwnershipLostError
from streams.history.acceptance import Ownership
from streams.ownership.ports import Checkpoint, Snapshot, StateRecord, Unreadable, World
from streams.ownership.task_traces import TaskTraces
from tasks.task import Task

_FIRST_LOOK = -1


class Snapshots:
    """Tracks which tasks changed since their newest snapshot, and writes new ones.

    Called only between two batches: every state is proved then, and the effects of every
    event below the next offset are done.
    """

    def __init__(
        self, partition_count: int, world: World, *, every_ms: int, every_events: int
    ) -> None:
        self._partition_count = partition_count
        self._world = world
        self._every_ms = every_ms
        self._every_events = every_events
        self._dirty: set[TaskId] = set()
        self._forgotten: set[TaskId] = set()
        self._events = 0
        self._written_at: Millis | None = None
        self._owed = False
        """True: a checkpoint has to be written although no task changed."""
        self.topic_ids: Mapping[str, str] = {}
        """The ids of the topics that offsets in snapshots belong to; for the checkpoints."""
        self._looked_to = _FIRST_LOOK
        """The offset of ``task-state`` up to which the writers are known."""

    async def load(self) -> list[StateRecord]:
        """Read all of ``task-state``, once, at the takeover.

        Reads up to an end that did not move during the read: compaction may remove a snapshot
        that was not reached yet, and its newer version lies behind the end that was seen first.
        """
        position, end = await self._world.state_bounds()
        found: list[StateRecord] = []
        while position < end:
            records, position = await self._world.state_read(position, end)
            found += records
            if position >= end:
                end = await self._world.state_end()
        self._looked_to = end
        return found

    def changed(self, task_id: TaskId) -> None:
        """Note that a task had an event and needs a new snapshot."""
        self._dirty.add(task_id)
        self._forgotten.discard(task_id)
        self._events += 1

    def forgotten(self, task_id: TaskId) -> None:
        """Note that a task left the memory and needs a tombstone."""
        self._dirty.discard(task_id)
        self._forgotten.add(task_id)

    def due_at(self) -> Millis | None:
        """When the next round is due; None while nothing has to be written."""
        if self._owed:
            return Millis(0)
        if not self._dirty and not self._forgotten:
            return None
        if self._events >= self._every_events or self._written_at is None:
            return Millis(0)
        return Millis(self._written_at + self._every_ms)

    def start(self, now: Millis) -> None:
        """Start the timer of the first round; a checkpoint is due at once.

        Without this checkpoint a partition whose tasks do not change would need the log from before
        the takeover's marker, and retention would remove that part in the end.
        """
        self._written_at = now
        self._owed = True

    async def write(
        self,
        tasks: Mapping[TaskId, Task],
        traces: TaskTraces,
        *,
        by: Ownership,
        next_offset: int,
        decided_created: int,
        orphans: Set[tuple[str, int]],
        now: Millis,
    ) -> int:
        """Write one round; return the number of snapshots.

        1. Find tasks that another process wrote to ``task-state``; they are written again.
        2. Write the snapshots and tombstones, and await them.
        3. Only then write the checkpoint that lets a successor begin here.

        When a round fails or is cancelled in between, the previous checkpoint holds.

        Raises:
            OwnershipLostError: a successor already writes snapshots. Tasks that only the
                successor knows must not get tombstones.
        """
        looked_to = await self._look(tasks, by)
        round_ = [
            StateRecord(
                Snapshot(task_id=task_id, task=task, as_of=next_offset, trace=traces.of(task_id)),
                by,
            )
            for task_id in sorted(self._dirty | self._forgotten)
            if (task := tasks.get(task_id)) is not None or task_id in self._forgotten
        ]
        offsets = [*await self._world.state_write(round_)] if round_ else []
        checkpoint = Checkpoint(
            offset=next_offset,
            state_from=looked_to,
            decided_created=decided_created,
            partitions=self._partition_count,
            topics=self.topic_ids,
            orphans=_by_topic(orphans),
        )
        offsets += await self._world.state_write([StateRecord(checkpoint, by)])
        if offsets == list(range(looked_to, looked_to + len(offsets))):
            # Nobody wrote in between: the next look has nothing of this to read.
            self._looked_to = looked_to + len(offsets)
        self._dirty.clear()
        self._forgotten.clear()
        self._events = 0
        self._owed = False
        self._written_at = now
        return len(round_)

    async def _look(self, tasks: Mapping[TaskId, Task], by: Ownership) -> int:
        """Note what others wrote since the last look; return the offset up to which it looked.

        A former owner's snapshot that lands now is older than our state, but it is the newest of
        its key: without this look a successor would use it.
        """
        end = await self._world.state_end()
        position = self._looked_to
        while position < end:
            records, position = await self._world.state_read(position, end)
            for record in records:
                if record.by.epoch > by.epoch:
                    raise OwnershipLostError(f"{record.by} wrote snapshots at {record.offset}")
                if record.by == by:
                    continue
                if isinstance(record.content, Snapshot):
                    self._rewrite(record.content.task_id, tasks)
                elif isinstance(record.content, Unreadable) and record.content.key is not None:
                    self._rewrite(TaskId(record.content.key), tasks)
        self._looked_to = end
        return end

    def _rewrite(self, task_id: TaskId, tasks: Mapping[TaskId, Task]) -> None:
        if task_id in tasks:
            self._dirty.add(task_id)
        else:
            self._forgotten.add(task_id)


def _by_topic(places: Set[tuple[str, int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for topic, offset in sorted(places):
        found.setdefault(topic, []).append(offset)
    return found
