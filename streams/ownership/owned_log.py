"""The log of one partition, as its owner writes it: announced, and proved append by append."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.records import EventKind, Millis, TaskEvent, TaskId
from schemas.topics import Topics
from streams.envelopes import event_record
from streams.errors import OwnershipLostError
from streams.log_reader import LogReader
from streams.ownership.acceptance import Ownership, accept
from streams.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings

if TYPE_CHECKING:
    from streams.ownership.recovery import Recovery

log = structlog.get_logger()


class OwnedLog:
    """A partition of ``task-events``.

    The owner knows the offset at which its next event must land. If it lands elsewhere, what
    lies between is read: a stranger's bytes change nothing, a successor's marker ends the
    ownership.
    """

    def __init__(
        self, partition: int, *, kafka: KafkaSettings, topics: Topics, publisher: Publisher
    ) -> None:
        self.ownership = Ownership(0, "")
        self._partition = partition
        self._kafka = kafka
        self._topics = topics
        self._publisher = publisher
        self._next_offset = 0

    async def take_over(self, recovery: Recovery, clock: Callable[[], Millis]) -> None:
        """Fold the log into ``recovery``, announce a new epoch, and fold through the marker.

        When another process announces itself at the same time, the first marker in the log
        counts, and the other one tries again with the epoch after it.

        Raises:
            KafkaUnavailableError, PublishError: nothing was decided; stop, and take over anew.
            OwnershipLostError: where the marker landed is unknown; the same.
        """
        async with self._reader() as reader:
            position, end = await reader.bounds(self._topics.task_events, self._partition)
            while recovery.ownership is None or recovery.ownership != self.ownership:
                await self._fold(reader, recovery, position, end)
                marker_at = await self._announce(recovery.ownership, clock())
                # Someone else's events may lie between the end that was read and our marker.
                await self._fold(reader, recovery, end, marker_at + 1)
                position = end = marker_at + 1
        self._next_offset = end

    async def append(self, events: Sequence[Outgoing]) -> None:
        """Append events; return when they are in the log and ours to write.

        Raises:
            PublishError: unknown whether they were written. Stop: the successor reads it.
            OwnershipLostError: another owner took over. Nothing more may be decided.
        """
        if not events:
            return
        offsets = await self._publisher.publish(events)
        if offsets == list(range(self._next_offset, self._next_offset + len(events))):
            self._next_offset += len(events)
        else:
            await self._prove(len(events), offsets[-1])

    async def _fold(self, reader: LogReader, recovery: Recovery, start: int, end: int) -> None:
        async for records in reader.read(self._topics.task_events, self._partition, start, end):
            for record in records:
                recovery.fold(record)

    async def _announce(self, last: Ownership | None, now: Millis) -> int:
        """Append our marker, with the epoch after the last accepted one; return its offset."""
        self.ownership = Ownership((last.epoch if last else 0) + 1, str(uuid.uuid4()))
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
        record = event_record(self._topics, self._partition, marker, {})
        [offset] = await self._publisher.publish([record])
        if offset < 0:
            raise OwnershipLostError("where the ownership marker landed is unknown")
        return offset

    async def _prove(self, appended: int, last_offset: int) -> None:
        """Read up to our last event (to the end, if its offset is unknown) and look for others."""
        topic, ours = self._topics.task_events, 0
        async with self._reader() as reader:
            _, end = await reader.bounds(topic, self._partition)
            end = end if last_offset < 0 else last_offset + 1
            async for records in reader.read(topic, self._partition, self._next_offset, end):
                ours += sum(self._is_ours(record) for record in records)
        if ours != appended:
            raise OwnershipLostError(
                f"{ours} of {appended} events of partition {self._partition} are in the log"
            )
        log.warning("log_written_by_others", partition=self._partition, end=end)
        self._next_offset = end

    def _is_ours(self, record: Origin) -> bool:
        try:
            accepted = accept(self.ownership, decode(record.value, TaskEvent))
        except DecodeError:
            return False
        if accepted not in (None, self.ownership):
            raise OwnershipLostError(f"{accepted} took partition {self._partition} over")
        return accepted is not None

    def _reader(self) -> LogReader:
        return LogReader(self._kafka, client_id=f"{self._kafka.client_id}-log-{self._partition}")
