"""Writes one partition of the log into Postgres, each event once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from schemas.codec import decode
from schemas.dead_letter import Failure, FailureClass, Origin, Stage
from schemas.errors import DecodeError, OrchestratorError
from schemas.limits import Limits
from schemas.records import EventKind, TaskEvent
from schemas.topics import Topics
from sinks.errors import SinkPositionError, SinkRowError, SinkUnavailableError
from sinks.rows import LogEvent
from sinks.writer import Position, Writer
from streams import metrics
from streams.admin import Admin
from streams.dead_letters import DeadLetters, failure_of
from streams.delivery import Delivery
from streams.log_reader import LogReader
from streams.ownership.acceptance import Ownership, accept
from streams.settings import KafkaSettings

log = structlog.get_logger()

_WAIT_MIN_S = 0.2
_WAIT_MAX_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorParts:
    """What every partition of this process shares."""

    group: str
    kafka: KafkaSettings
    topics: Topics
    limits: Limits
    writer: Writer
    dead_letters: DeadLetters


class Projector:
    """Follows one partition of ``task-events``. A ``PartitionHandler``.

    Its position is the one stored with the rows, not the group's: records before it are
    passed over, and what lies between it and the first delivery is read from the log. So the
    projection stays right when Postgres is restored from a backup. While Postgres is away it
    waits, and its partitions pause.
    """

    def __init__(self, partition: int, parts: ProjectorParts) -> None:
        self._partition = partition
        self._parts = parts
        self._stored: Position | None = None
        self._next_offset = 0

    async def open(self) -> None:
        """Find the stored position, and catch up with what the group has committed beyond it.

        Raises:
            SinkPositionError: the log does not hold what comes next (it was cut, or this
                database belongs to another log); an operator has to rebuild the projection.
                Nothing is skipped by itself.
        """
        self._stored = await self._position()
        topic, partition = self._parts.topics.task_events, self._partition
        async with Admin(self._parts.kafka) as admin:
            committed = await admin.committed(self._parts.group, [(topic, partition)])
        async with self._reader() as reader:
            first, end = await reader.bounds(topic, partition)
        self._next_offset = first if self._stored is None else self._stored.next_offset
        if not first <= self._next_offset <= end:
            raise SinkPositionError(
                f"the sink stands at offset {self._next_offset} of {topic}[{partition}], "
                f"whose log goes from {first} to {end}"
            )
        await self._catch_up(committed.get((topic, partition), 0))

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Write a batch, then acknowledge it."""
        ours = [delivery for delivery in deliveries if not delivery.stale()]
        if not ours:
            return
        await self._catch_up(ours[0].offset)
        await self._write([delivery.origin for delivery in ours])
        for delivery in ours:
            delivery.ack()
        metrics.RECORDS.labels(self._parts.topics.task_events, "written").inc(len(ours))

    def unfinished(self) -> list[Delivery]:
        """Nothing: the sink is never deposed, its position is."""
        return []

    def wakeup_s(self) -> float | None:
        """The sink has no timers."""
        return None

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
        events, letters, ownership = self._read(fresh)
        # Before the position moves past them; again if the process ends in between.
        await self._parts.dead_letters.bury(letters)
        after = Position(
            next_offset=fresh[-1].offset + 1, epoch=ownership.epoch, owner=ownership.owner
        )
        await self._store(events, after, {record.offset: record for record in fresh})

    def _read(
        self, records: Sequence[Origin]
    ) -> tuple[list[LogEvent], list[tuple[Origin, Failure]], Ownership]:
        stored = self._stored
        ownership = Ownership(stored.epoch, stored.owner) if stored and stored.owner else None
        events: list[LogEvent] = []
        letters: list[tuple[Origin, Failure]] = []
        for record in records:
            try:
                event = decode(
                    record.value, TaskEvent, max_bytes=self._parts.limits.event_max_bytes
                )
            except DecodeError as error:
                failure = failure_of(error, stage=Stage.DECODE, failure_class=FailureClass.POISON)
                letters.append((record, failure))
                continue
            accepted = accept(ownership, event)
            if accepted is None:
                continue
            ownership = accepted
            if event.kind is not EventKind.OWNERSHIP_TAKEN:
                events.append(LogEvent(record.partition, record.offset, event))
        return events, letters, ownership or Ownership(0, "")

    async def _store(
        self, events: Sequence[LogEvent], after: Position, records: dict[int, Origin]
    ) -> None:
        """Write events and the position after them, waiting for Postgres if it is away."""
        wait_s = _WAIT_MIN_S
        while True:
            try:
                await self._parts.writer.write(self._partition, self._stored, events, after)
            except SinkUnavailableError as error:
                wait_s = await self._wait(error, wait_s)
            except SinkRowError as error:
                await self._isolate(events, after, records, error)
                return
            else:
                break
        self._stored, self._next_offset = after, after.next_offset

    async def _isolate(
        self,
        events: Sequence[LogEvent],
        after: Position,
        records: dict[int, Origin],
        error: SinkRowError,
    ) -> None:
        """Halve a batch that holds a refused row, until the row stands alone and is buried."""
        if len(events) <= 1:
            letters = [(records[event.offset], _refused(event, error)) for event in events]
            await self._parts.dead_letters.bury(letters)
            await self._store([], after, records)
            return
        middle = len(events) // 2
        between = Position(
            next_offset=events[middle].offset,
            epoch=events[middle].event.owner_epoch,
            owner=events[middle].event.owner,
        )
        await self._store(events[:middle], between, records)
        await self._store(events[middle:], after, records)

    async def _position(self) -> Position | None:
        wait_s = _WAIT_MIN_S
        while True:
            try:
                positions = await self._parts.writer.positions([self._partition])
            except SinkUnavailableError as error:
                wait_s = await self._wait(error, wait_s)
            else:
                return positions.get(self._partition)

    async def _wait(self, error: SinkUnavailableError, wait_s: float) -> float:
        log.warning("postgres_away", partition=self._partition, code=error.code, retry_in_s=wait_s)
        await asyncio.sleep(wait_s)
        return min(_WAIT_MAX_S, wait_s * 2)

    def _reader(self) -> LogReader:
        kafka = self._parts.kafka
        return LogReader(kafka, client_id=f"{kafka.client_id}-sink-{self._partition}")


def _refused(event: LogEvent, error: OrchestratorError) -> Failure:
    return failure_of(
        error,
        stage=Stage.SINK,
        failure_class=FailureClass.REJECTED,
        task_id=event.event.task_id,
        tenant_id=event.event.tenant_id,
    )
