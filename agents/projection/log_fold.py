"""Folds the log into a table set beside the projection, for a rebuild or a verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from schemas.dead_letter import Origin
from schemas.limits import Limits
from sinks.errors import SinkRowError
from sinks.isolation import write_isolating
from sinks.rows import LogEvent
from sinks.writer import Position, Writer
from streams.history.acceptance import Ownership
from streams.history.accepted import ownership_at_start, read_accepted
from streams.kafka.log_reader import LogReader

log = structlog.get_logger()


class LogFold:
    """Writes ``task-events`` from its beginning up to given offsets, partition by partition.

    Each event has the effect that it has in the sink; a row that Postgres refuses is left
    out, as in the sink. Nothing is dead-lettered: the sink has done that.
    """

    def __init__(self, reader: LogReader, topic: str, writer: Writer, limits: Limits) -> None:
        self._reader = reader
        self._topic = topic
        self._writer = writer
        self._limits = limits
        self.starts: dict[int, Position] = {}
        """The offset at which each partition's log began, and its owner there."""
        self.positions: dict[int, Position] = {}
        """The position up to which each partition was written."""
        self._expected: dict[int, Position | None] = {}

    async def open(self) -> None:
        """Find the beginning of every partition.

        Raises:
            KafkaUnavailableError: no broker answered; nothing was written.
        """
        for partition in await self._reader.partitions(self._topic):
            first, end = await self._reader.bounds(self._topic, partition)
            owned = await ownership_at_start(self._reader, self._topic, partition, first, end)
            start = _position(first, owned)
            self.starts[partition] = self.positions[partition] = start
            self._expected[partition] = None

    @property
    def first_offsets(self) -> dict[int, int]:
        """The first offset of each partition's log."""
        return {partition: start.next_offset for partition, start in self.starts.items()}

    async def targets(self, sink: Mapping[int, Position]) -> dict[int, int]:
        """The offsets up to which to fold: the sink's positions, or the ends of the log.

        A partition is folded to its end if the sink never wrote it, or if the log does not hold
        the sink's position.
        """
        targets = {}
        for partition, start in self.starts.items():
            _, end = await self._reader.bounds(self._topic, partition)
            position = sink.get(partition)
            targets[partition] = (
                position.next_offset if position and holds(start, position, end) else end
            )
        return targets

    async def unwritten(self, sink: Mapping[int, Position]) -> int:
        """Records between the sink's positions and the ends of the log as it is now."""
        found = 0
        for partition, start in self.starts.items():
            _, end = await self._reader.bounds(self._topic, partition)
            position = sink.get(partition, start)
            found += max(0, end - max(position.next_offset, start.next_offset))
        return found

    async def advance(self, targets: Mapping[int, int]) -> int:
        """Write on up to these offsets; return the number of records.

        Raises:
            KafkaUnavailableError: the log could not be read; begin again.
            SinkUnavailableError: Postgres does not accept the rows; begin again.
        """
        before = sum(position.next_offset for position in self.positions.values())
        for partition, end in targets.items():
            start = self.positions[partition].next_offset
            if start < end:
                log.info("log_fold", partition=partition, start=start, end=end)
                async for records in self._reader.read(self._topic, partition, start, end):
                    await self._write(partition, records)
                if self.positions[partition].next_offset < end:  # holes at the end
                    await self._store(partition, [], self.positions[partition], end)
        return sum(position.next_offset for position in self.positions.values()) - before

    async def _write(self, partition: int, records: Sequence[Origin]) -> None:
        position = self.positions[partition]
        owned = Ownership(position.epoch, position.owner) if position.owner else None
        read = read_accepted(records, owned, max_bytes=self._limits.event_max_bytes)
        events = [LogEvent(partition, record.offset, event) for record, event in read.events]
        end = records[-1].offset + 1
        await self._store(partition, events, _position(end, read.ownership), end)

    async def _store(
        self, partition: int, events: list[LogEvent], after: Position, end: int
    ) -> None:
        async def write(part: Sequence[LogEvent], position: Position) -> None:
            await self._writer.write(partition, self._expected[partition], part, position)
            self._expected[partition] = self.positions[partition] = position

        async def refused(event: LogEvent, error: SinkRowError) -> None:
            log.warning(
                "row_refused", partition=partition, offset=event.offset, task_id=event.event.task_id
            )

        after = Position(end, after.epoch, after.owner)
        await write_isolating(write, refused, events, after)


def holds(start: Position, position: Position, end: int) -> bool:
    """Whether a log from ``start`` to ``end`` holds the record that follows a position."""
    return start.next_offset <= position.next_offset <= end


def _position(offset: int, owned: Ownership | None) -> Position:
    return Position(offset, owned.epoch if owned else 0, owned.owner if owned else "")
