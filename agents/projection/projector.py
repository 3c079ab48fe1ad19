"""Writes one partition of the log into Postgres, each event once."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from agents.projection.holding import Holding
from agents.projection.spans import WriteSpans
from agents.projection.standing import check_position
from schemas.dead_letter import Failure, FailureClass, Origin, Stage
from schemas.errors import OrchestratorError
from schemas.limits import Limits
from schemas.topics import Topics
from sinks.errors import SinkPositionError, SinkRowError, SinkUnavailableError
from sinks.isolation import write_isolating
from sinks.rows import LogEvent
from sinks.waiting import WaitLog, when_taken
from sinks.writer import Position, Writer
from streams import metrics
from streams.clock import now_ms
from streams.history.acceptance import Ownership
from streams.history.accepted import ownership_at_start, read_accepted
from streams.kafka.admin import Admin
from streams.kafka.dead_letters import DeadLetters, failure_of
from streams.kafka.log_reader import LogReader
from streams.runtime.delivery import Delivery
from streams.settings import KafkaSettings

log = structlog.get_logger()

_MONTHS_EVERY_S = 6 * 3600.0
_LOOK_EVERY_S = 5.0
"""How long a restored database may go unnoticed in a partition without new events: one read by
key for each partition."""
_REOPENS_MAX = 3
"""How often the position may move under one batch: a rebuild moves it once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorParts:
    """What every partition of this process shares."""

    group: str
    kafka: KafkaSettings
    topics: Topics
    limits: Limits
    writer: Writer
    dead_letters: DeadLetters
    hold_s: float = 0.0
    """How long events that end no task wait for later ones, in seconds."""
    waits: WaitLog = field(default_factory=WaitLog)


class Projector:
    """Follows one partition of ``task-events``. A ``PartitionHandler``.

    Its position is the one stored with the rows, not the group's: it skips records before that
    position, and reads records between that position and the first delivery from the log. So the
    projection stays correct when Postgres is restored from a backup, and when a rebuild moves the
    position. A partition without new events reads its position every few seconds. While Postgres
    is down, or refuses every row, the projector waits, and its partitions pause. It dead-letters a
    row only if that row is refused while others are accepted.

    Events that end no task wait a moment for later ones (:class:`Holding`). They are not
    acknowledged meanwhile: when the partition is taken away, its next owner writes them.
    """

    def __init__(self, partition: int, parts: ProjectorParts) -> None:
        self._partition = partition
        self._parts = parts
        self._stored: Position | None = None
        self._next_offset = 0
        self._ownership: Ownership | None = None
        self._months_due = 0.0
        self._look_due = 0.0
        self._holding = Holding[Delivery](parts.hold_s)

    async def open(self) -> None:
        """Find the stored position, and catch up from there to the group's committed offset.

        Raises:
            SinkPositionError: the log does not hold the next record (the log was cut, or this
                database belongs to another log). An operator has to rebuild the projection;
                the sink skips nothing on its own.
        """
        self._stored = await self._position()
        topic, partition = self._parts.topics.task_events, self._partition
        async with Admin(self._parts.kafka) as admin:
            committed = await admin.committed(self._parts.group, [(topic, partition)])
        async with self._reader() as reader:
            first, end = await reader.bounds(topic, partition)
            if self._stored is None:
                self._next_offset = first
                self._ownership = await ownership_at_start(reader, topic, partition, first, end)
            else:
                self._follow(self._stored)
                place = (topic, partition)
                await check_position(reader, place, self._stored, (first, end))
        await self._catch_up(min(committed.get((topic, partition), 0), end))

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Write what is due, then acknowledge it. From time to time create partitions for the
        coming months, and, without a delivery, check the stored position."""
        await self._make_months_ahead()
        ours = [delivery for delivery in deliveries if not delivery.stale()]
        if self._holding.add(ours, time.monotonic()):
            await self._write_held()
        elif not ours:
            await self._look_where_it_stands()

    def unfinished(self) -> list[Delivery]:
        """What waits; the sink is never deposed, its position is checked instead."""
        return list(self._holding.held)

    def wakeup_s(self) -> float | None:
        """Seconds until what waits, the partitions of the next months, or a look at the position
        are due."""
        now_s = time.monotonic()
        due_s = max(0.0, min(self._months_due, self._look_due) - now_s)
        held_s = self._holding.wakeup_s(now_s)
        return due_s if held_s is None else min(due_s, held_s)

    async def _write_held(self) -> None:
        ours = [delivery for delivery in self._holding.held if not delivery.stale()]
        if ours:
            await self._write_where_it_stands(ours)
            for delivery in ours:
                delivery.ack()
            metrics.RECORDS.labels(self._parts.topics.task_events, "written").inc(len(ours))
        self._holding.clear()

    async def _write_where_it_stands(self, ours: Sequence[Delivery]) -> None:
        """Write the unwritten events, even if a rebuild has just moved the position."""
        for _ in range(_REOPENS_MAX):
            try:
                await self._catch_up(ours[0].offset)
                await self._write([delivery.origin for delivery in ours])
            except SinkPositionError as error:
                log.warning("sink_position_moved", partition=self._partition, reason=str(error))
                await self.open()
            else:
                return
        raise SinkPositionError(
            f"the position of partition {self._partition} moves again and again: "
            "someone else writes it"
        )

    async def _look_where_it_stands(self) -> None:
        """Notice a position that was moved although no event comes: Postgres was restored.

        Raises:
            SinkPositionError: as :meth:`open`.
        """
        if time.monotonic() < self._look_due:
            return
        if (found := await self._position()) != self._stored:
            log.warning("sink_position_moved", partition=self._partition, reason=f"found {found}")
            had_read = self._next_offset
            await self.open()
            # The group's commits may be a moment behind what was read here.
            await self._catch_up(had_read)
        self._look_due = time.monotonic() + _LOOK_EVERY_S

    async def _make_months_ahead(self) -> None:
        """Create partitions for the coming months; if late, a batch creates those that it needs."""
        if time.monotonic() < self._months_due:
            return
        self._months_due = time.monotonic() + _MONTHS_EVERY_S
        try:
            await self._parts.writer.make_months_ahead()
        except SinkUnavailableError as error:
            log.warning("months_not_made", partition=self._partition, code=error.code)

    async def _catch_up(self, end: int) -> None:
        if self._next_offset >= end:
            return
        log.info("sink_catches_up", partition=self._partition, start=self._next_offset, end=end)
        topic = self._parts.topics.task_events
        async with self._reader() as reader:
            async for records in reader.read(topic, self._partition, self._next_offset, end):
                await self._write(records)

    async def _write(self, records: Sequence[Origin]) -> None:
        fresh = [record for record in records if record.offset >= self._next_offset]
        if not fresh:
            return
        read = read_accepted(fresh, self._ownership, max_bytes=self._parts.limits.event_max_bytes)
        # Before the position moves past them; repeated if the process ends in between.
        await self._parts.dead_letters.publish(
            [
                (
                    record,
                    failure_of(error, stage=Stage.DECODE, failure_class=FailureClass.POISON),
                )
                for record, error in read.undecodable
            ]
        )
        owned = read.ownership or Ownership(0, "")
        after = Position(fresh[-1].offset + 1, owned.epoch, owned.owner)
        origins = {record.offset: record for record in fresh}
        spans = WriteSpans(fresh)

        async def refused(event: LogEvent, error: SinkRowError) -> None:
            spans.refused(event.offset, error.code)
            await self._parts.dead_letters.publish(
                [(origins[event.offset], _refused(event, error))]
            )

        events = [LogEvent(record.partition, record.offset, event) for record, event in read.events]
        await write_isolating(self._store, refused, events, after)
        metrics.IGNORED_EVENTS.inc(read.ignored)
        spans.end()
        _log_written(events)
        self._show(events)

    def _show(self, events: Sequence[LogEvent]) -> None:
        """Measure what was written, and how far it is behind the log."""
        if not events:
            return
        metrics.SINK_BATCH_EVENTS.observe(len(events))
        oldest, newest = events[0].event.occurred_at, events[-1].event.occurred_at
        metrics.SINK_DELAY_SECONDS.observe(max(0.0, (now_ms() - oldest) / 1000))
        metrics.SINK_WATERMARK_SECONDS.labels(str(self._partition)).set(newest / 1000)

    async def _store(self, events: Sequence[LogEvent], after: Position) -> None:
        """Write events and the position after them; wait while Postgres is down."""
        writer = self._parts.writer
        await when_taken(
            self._parts.waits, lambda: writer.write(self._partition, self._stored, events, after)
        )
        self._stored = after
        self._look_due = time.monotonic() + _LOOK_EVERY_S
        self._follow(after)

    def _follow(self, position: Position) -> None:
        self._next_offset = position.next_offset
        owned = Ownership(position.epoch, position.owner)
        self._ownership = owned if position.owner else None

    async def _position(self) -> Position | None:
        writer = self._parts.writer
        positions = await when_taken(self._parts.waits, lambda: writer.positions([self._partition]))
        return positions.get(self._partition)

    def _reader(self) -> LogReader:
        kafka = self._parts.kafka
        client_id = f"{kafka.client_id}-sink-{self._partition}"
        return LogReader(kafka, client_id=client_id, committed=False)


def _log_written(events: Sequence[LogEvent]) -> None:
    """One line for each event, only while lines of this level are logged: there are many."""
    if log.is_enabled_for(logging.DEBUG):
        for written in events:
            event = written.event
            log.debug(
                "event_written",
                task_id=event.task_id,
                kind=event.kind,
                partition=written.partition,
                offset=written.offset,
            )


def _refused(event: LogEvent, error: OrchestratorError) -> Failure:
    return failure_of(
        error,
        stage=Stage.SINK,
        failure_class=FailureClass.REJECTED,
        task_id=event.event.task_id,
        tenant_id=event.event.tenant_id,
    )
