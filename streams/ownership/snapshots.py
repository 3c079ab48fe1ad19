"""The owner's snapshots in ``task-state``: what a successor need not read from the log."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.records import Millis, TaskId
from streams.errors import OwnershipLostError
from streams.history.acceptance import Ownership
from streams.ownership.ports import Checkpoint, Snapshot, StateRecord, Unreadable, World
from tasks.task import Task

_FIRST_LOOK = -1


class Snapshots:
    """Which tasks changed since their newest snapshot, and how they get one.

    Called between two batches only: every state is proved then, and the effects of every
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
        """A checkpoint has to be written although nothing changed."""
        self.topic_ids: Mapping[str, str] = {}
        """Of the topics that offsets in snapshots belong to; for the checkpoints."""
        self._looked_to = _FIRST_LOOK
        """Of ``task-state``: up to here we know who wrote."""

    async def load(self) -> list[StateRecord]:
        """Read all of ``task-state``, once, at the takeover.

        Up to an end that has not moved while we read: compaction may take away a snapshot
        that we have not reached yet, and the newer one lies behind the end that we saw first.
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
        """Note that a task had an event: it needs a new snapshot."""
        self._dirty.add(task_id)
        self._forgotten.discard(task_id)
        self._events += 1

    def forgotten(self, task_id: TaskId) -> None:
        """Note that a task left the memory: it gets a tombstone."""
        self._dirty.discard(task_id)
        self._forgotten.add(task_id)

    def due_at(self) -> Millis | None:
        """When the next round is due; None while there is nothing to write."""
        if self._owed:
            return Millis(0)
        if not self._dirty and not self._forgotten:
            return None
        if self._events >= self._every_events or self._written_at is None:
            return Millis(0)
        return Millis(self._written_at + self._every_ms)

    def start(self, now: Millis) -> None:
        """Count the time to the first round from now on; a checkpoint is due at once.

        Without it the log before the takeover's marker would be needed for as long as no task
        changes, and retention would remove it in the end.
        """
        self._written_at = now
        self._owed = True

    async def write(
        self,
        tasks: Mapping[TaskId, Task],
        *,
        by: Ownership,
        next_offset: int,
        decided_created: int,
        now: Millis,
    ) -> int:
        """Write a round; return how many snapshots.

        1. Look who else wrote to ``task-state``: those tasks are written again.
        2. Write the snapshots and tombstones, and await them.
        3. Only then write the checkpoint that lets a successor begin here.

        Cancelled or failed in between, the checkpoint before this one holds.

        Raises:
            OwnershipLostError: a successor writes snapshots already; what it knows and we do
                not must not be called forgotten.
        """
        looked_to = await self._look(tasks, by)
        round_ = [
            StateRecord(Snapshot(task_id=task_id, task=task, as_of=next_offset), by)
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
        """Note what others wrote since the last look; return up to where we looked.

        A former owner's snapshot that lands now is older than what we know, but it is the
        newest of its key: without this a successor would use it.
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
