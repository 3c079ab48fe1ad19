"""The log of one partition, as its owner writes it: a marker first, then proved appends."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from schemas.records import EventKind, Millis, TaskEvent, TaskId
from streams.errors import LogLostError, OwnershipLostError
from streams.history.acceptance import OWNER_WINDOW, Ownership, accept
from streams.ownership.ports import Sealed, World

if TYPE_CHECKING:
    from streams.ownership.recovery import Recovery

log = structlog.get_logger()


class OwnedLog:
    """A partition of ``task-events``.

    The owner knows the offset at which its next event must land. If the event lands elsewhere,
    the owner reads the records between: bytes of a stranger change nothing, the marker of a
    successor ends the ownership.
    """

    def __init__(self, partition: int, world: World) -> None:
        self.ownership = Ownership(0, "")
        self.next_offset = 0
        """Where our next event must land; everything below is proved."""
        self._partition = partition
        self._world = world

    async def take_over(self, recovery: Recovery, clock: Callable[[], Millis]) -> None:
        """Fold the log into ``recovery``, announce a new epoch, and fold through the marker.

        When another process announces itself at the same time, the first marker in the log
        counts, and the other one tries again with the epoch after it.

        Raises:
            LogLostError: the log ends before its checkpoint. Nothing was written.
            LogTrimmedError, SnapshotUnreadableError, TopicReplacedError: nothing was written;
                an operator has to act.
        """
        first, end = await self._world.log_bounds()
        position = recovery.start_at(first)
        if position > end:
            raise LogLostError(
                f"task-events[{self._partition}] ends at {end}, its checkpoint says {position}"
            )
        if recovery.owner_unknown:
            first_records, _ = await self._world.log_read(
                position, min(end, position + OWNER_WINDOW)
            )
            recovery.find_owner(first_records)
        while recovery.ownership is None or recovery.ownership != self.ownership:
            await self._fold(recovery, position, end)
            marker_at = await self._announce(recovery.ownership, clock())
            # Events of another owner may lie between the end that was read and our marker.
            position, end = end, await self._end_after(marker_at)
            await self._fold(recovery, position, end)
            position = end
        self.next_offset = end

    async def append(self, events: Sequence[Sealed]) -> None:
        """Append events, at least one; return when they are in the log and ours to write.

        Raises:
            PublishError: it is unknown whether they were written. Stop: the successor reads the
                log.
            OwnershipLostError: another owner took over. Nothing more may be decided.
        """
        offsets = list(await self._world.log_append(events))
        if offsets == list(range(self.next_offset, self.next_offset + len(events))):
            self.next_offset += len(events)
            return
        ours = await self._read_on(await self._end_after(offsets[-1]))
        if ours != len(events):
            raise OwnershipLostError(
                f"{ours} of {len(events)} events of partition {self._partition} are in the log"
            )

    async def prove(self) -> None:
        """Make sure that no other owner had taken over before this call.

        For a batch that appends nothing, and so has no offset that proves the ownership.

        Raises:
            OwnershipLostError: as :meth:`append`.
        """
        end = await self._world.log_end()
        if end != self.next_offset:
            await self._read_on(end)

    async def _end_after(self, offset: int) -> int:
        """The offset after one that we wrote; if that one is unknown, the end of the log."""
        return offset + 1 if offset >= 0 else await self._world.log_end()

    async def _fold(self, recovery: Recovery, position: int, end: int) -> None:
        while position < end:
            records, position = await self._world.log_read(position, end)
            for record in records:
                recovery.fold(record)

    async def _announce(self, last: Ownership | None, now: Millis) -> int:
        """Append our marker, with the epoch after the last accepted one; return its offset."""
        self.ownership = Ownership((last.epoch if last else 0) + 1, self._new_owner_id())
        marker = TaskEvent(
            event_id=f"{self._partition}/{self.ownership.epoch}/{self.ownership.owner}",
            task_id=TaskId(""),
            tenant_id="",
            kind=EventKind.OWNERSHIP_TAKEN,
            run=0,
            occurred_at=now,
            owner=self.ownership.owner,
            owner_epoch=self.ownership.epoch,
        )
        [offset] = await self._world.log_append([self._world.seal_event(marker, {})])
        return offset

    def _new_owner_id(self) -> str:
        # New for each takeover: a late append of an earlier takeover by this same process must not
        # count as one of this takeover.
        return str(uuid.uuid4())

    async def _read_on(self, end: int) -> int:
        """Read from our position to ``end``; return how many of these events are ours."""
        position, ours = self.next_offset, 0
        while position < end:
            records, position = await self._world.log_read(position, end)
            for record in records:
                accepted = None if record.event is None else accept(self.ownership, record.event)
                if accepted not in (None, self.ownership):
                    raise OwnershipLostError(
                        f"{accepted} took partition {self._partition} over at {record.offset}"
                    )
                ours += accepted is not None
        log.warning("log_written_by_others", partition=self._partition, end=end)
        self.next_offset = max(self.next_offset, end)
        return ours
