"""Writes one partition of all dead-letter topics, and of the ledger, into Postgres."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

import structlog

from agents.letters.closing import Closing
from agents.letters.open_letters import OpenLetters
from agents.letters.parts import IndexerParts
from agents.projection.standing import of_others
from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.dead_letter_record import DeadLetter, read_dead_letter
from schemas.errors import DecodeError
from schemas.records import DeadLetterAction
from sinks.errors import SinkPositionError
from sinks.letters.writer import Moved
from sinks.waiting import when_taken
from streams import metrics
from streams.kafka.dead_letters import poison
from streams.kafka.log_reader import LogReader
from streams.letters.action_log import PARTITION
from streams.runtime.delivery import Delivery

log = structlog.get_logger()

_LOOK_EVERY_S = 5.0
"""How long a restored database may go unnoticed in partitions without new letters."""
_SHOWN_MAX = 3
_REOPENS_MAX = 3
"""How often the positions may move under one batch: a restore moves them once."""


class Indexer:
    """Follows one partition of all dead-letter topics. A ``PartitionHandler``.

    It reads from the positions that are stored with the rows, not from the group's. So an index
    that was emptied or restored from a backup is filled from its own position, also while this
    runs: the positions are read every few seconds, and before letters are closed. While Postgres
    is down it waits, and its partitions pause. The owner of the ledger's partition also closes
    letters.
    """

    def __init__(self, partition: int, parts: IndexerParts) -> None:
        self._partition = partition
        self._parts = parts
        consumed = [*parts.dlq_topics, parts.topics.dlq_actions]
        self._consumed = [name for name in consumed if partition < parts.partitions[name]]
        self._names = consumed
        self._stored: dict[str, int | None] = {}
        self._closing = Closing(parts) if partition == PARTITION else None
        self._open = OpenLetters(parts.writer)
        self._look_due = 0.0

    async def open(self) -> None:
        """Read on from the stored positions up to the current ends of the topics."""
        writer, reader = self._parts.writer, self._reader()
        if self._closing is not None:
            await self._look_for_others()
        async with reader:
            # Partitions may have been added: the group assigns them to us as well.
            found = await reader.all_partitions(self._names)
            self._consumed = [name for name, partition in found if partition == self._partition]
            stored = await when_taken(
                self._parts.waits, lambda: writer.positions(self._consumed, self._partition)
            )
            places = [(name, self._partition) for name in self._consumed]
            for (topic, _), (first, end) in (await reader.all_bounds(places)).items():
                self._stored[topic] = at = stored.get(topic)
                if at is not None and at > end:
                    await self._begin_again(topic, at, first)
                    at = first
                # Letters that expired before they were indexed are gone: the index shows readable
                # ones.
                start = max(first, first if at is None else at)
                if start < end:
                    log.info("index_catches_up", topic=topic, partition=self._partition, end=end)
                async for records in reader.read(topic, self._partition, start, end):
                    await self._write(records)
        self._look_due = time.monotonic() + _LOOK_EVERY_S

    async def _look_for_others(self) -> None:
        """Log that the database has letters of another system, which are listed with ours."""
        topics = await when_taken(self._parts.waits, self._parts.writer.topics)
        if others := of_others(topics, self._parts.topics):
            log.error("index_holds_other_topics", topics=others[:_SHOWN_MAX], count=len(others))

    async def _begin_again(self, topic: str, at: int, first: int) -> None:
        """Move back a position that its topic does not reach: the topic was made again."""
        log.error(
            "index_position_beyond_end", topic=topic, partition=self._partition, at=at, first=first
        )
        moved = [Moved(topic, self._partition, at, first)]
        await when_taken(self._parts.waits, lambda: self._parts.writer.write([], [], moved))
        self._stored[topic] = first

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Write a batch, then acknowledge it; close letters from time to time."""
        ours = [delivery for delivery in deliveries if not delivery.stale()]
        await self._write_where_it_stands([delivery.origin for delivery in ours])
        for delivery in ours:
            delivery.ack()
            metrics.RECORDS.labels(delivery.topic, "indexed").inc()
        closing = self._closing if self._closing is not None and self._closing.due() else None
        # An older copy of the index does not know what was closed since.
        if closing is not None or time.monotonic() >= self._look_due:
            await self._look_where_it_stands()
        if closing is not None:
            await self._close(closing)

    def unfinished(self) -> list[Delivery]:
        """Return nothing: the index is never deposed; its positions are checked instead."""
        return []

    def wakeup_s(self) -> float | None:
        """Seconds until letters are closed next, or until the next look at the positions."""
        look_s = max(0.0, self._look_due - time.monotonic())
        return look_s if self._closing is None else min(look_s, self._closing.wait_s())

    async def _write_where_it_stands(self, records: Sequence[Origin]) -> None:
        """Write what is not written, even if Postgres was restored a moment ago."""
        for _ in range(_REOPENS_MAX):
            try:
                await self._write(records)
            except SinkPositionError as error:
                await self._reopen(str(error))
            else:
                return
        raise SinkPositionError(
            f"the positions of partition {self._partition} move again and again: "
            "someone else writes them"
        )

    async def _write(self, records: Sequence[Origin]) -> None:
        fresh = [r for r in records if r.offset >= (self._stored.get(r.topic) or 0)]
        if not fresh:
            return
        letters, actions, unreadable = self._read(fresh)
        if unreadable:
            await self._parts.dead_letters.publish([poison(record, e) for record, e in unreadable])
        ends: dict[str, int] = defaultdict(int)
        for record in fresh:
            ends[record.topic] = max(ends[record.topic], record.offset + 1)
        moved = [
            Moved(topic, self._partition, self._stored.get(topic), end)
            for topic, end in ends.items()
        ]
        await when_taken(
            self._parts.waits, lambda: self._parts.writer.write(letters, actions, moved)
        )
        self._stored.update(ends)

    def _read(
        self, records: Sequence[Origin]
    ) -> tuple[
        list[DeadLetter], list[tuple[int, DeadLetterAction]], list[tuple[Origin, DecodeError]]
    ]:
        letters: list[DeadLetter] = []
        actions: list[tuple[int, DeadLetterAction]] = []
        unreadable: list[tuple[Origin, DecodeError]] = []
        for record in records:
            if record.topic != self._parts.topics.dlq_actions:
                letters.append(read_dead_letter(record, self._parts.topics))
                continue
            try:
                actions.append((record.offset, decode(record.value, DeadLetterAction)))
            except DecodeError as error:
                unreadable.append((record, error))
        return letters, actions, unreadable

    async def _look_where_it_stands(self) -> None:
        """Notice that the index was emptied, or is an older copy of itself, and fill it again."""
        writer = self._parts.writer
        stored = await when_taken(
            self._parts.waits, lambda: writer.positions(self._consumed, self._partition)
        )
        known = {topic: end for topic, end in self._stored.items() if end is not None}
        if stored != known:
            await self._reopen("the index is not where this process left it")
        self._look_due = time.monotonic() + _LOOK_EVERY_S

    async def _reopen(self, reason: str) -> None:
        log.warning("index_position_moved", partition=self._partition, reason=reason)
        await self.open()

    async def _close(self, closing: Closing) -> None:
        indexed_to = self._stored.get(self._parts.topics.dlq_actions) or 0
        await when_taken(self._parts.waits, lambda: closing.close(indexed_to))
        await when_taken(self._parts.waits, self._open.show)

    def _reader(self) -> LogReader:
        kafka = self._parts.kafka
        return LogReader(kafka, client_id=f"{kafka.client_id}-dlq-index-{self._partition}")
