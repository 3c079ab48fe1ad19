"""Watches the first records of a replay until their results are known."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.dead_letter import Origin
from schemas.headers import header_text
from schemas.records import TaskEvent, TaskId, TaskStatus
from schemas.topics import Topics, dlq
from streams.history.acceptance import Ownership
from streams.history.accepted import ownership_before, read_accepted
from streams.kafka.admin import Admin
from streams.kafka.log_reader import LogReader
from streams.settings import KafkaSettings

_POLL_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A record that was sent: its letter, its position, and the group that reads it."""

    letter_id: str
    group: str
    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Sightings:
    """Everything that was seen after the canaries were sent."""

    read_past: set[str] = field(default_factory=set)
    """Letters whose record its group has acknowledged."""
    dead_lettered_again: set[str] = field(default_factory=set)
    tasks: dict[tuple[str, int, int], TaskId] = field(default_factory=dict)
    """The task that an input led to, by the position of the input."""
    ends: dict[TaskId, TaskStatus] = field(default_factory=dict)


def verdict(watch: Watch, seen: Sightings) -> bool | None:
    """True: the record succeeded. False: it failed. None: not known yet. Pure.

    A record that its group has read, and after which neither an event nor a dead letter came,
    changed nothing: its task had already gone on. That counts as success.
    """
    if watch.letter_id in seen.dead_lettered_again:
        return False
    if watch.letter_id not in seen.read_past:
        return None
    task_id = seen.tasks.get((watch.topic, watch.partition, watch.offset))
    if task_id is None:
        return True
    ended = seen.ends.get(task_id)
    return None if ended is None else ended is TaskStatus.COMPLETED


class Canary:
    """Reads ``task-events``, the dead letters and the group's offsets until all are judged."""

    def __init__(
        self,
        reader: LogReader,
        kafka: KafkaSettings,
        topics: Topics,
        places: Sequence[tuple[str, int]],
    ) -> None:
        """``places``: every partition of ``task-events`` and of the dead-letter topics."""
        self._reader = reader
        self._kafka = kafka
        self._topics = topics
        self._places = places
        self._read: dict[tuple[str, int], int] = {}
        self._ownership: dict[int, Ownership | None] = {}
        """The ownership, by partition, at the offset where reading of ``task-events`` goes on."""

    async def mark(self) -> None:
        """Note where everything ends; call it before the canaries are sent."""
        self._read = await self._reader.ends(self._places)
        topic = self._topics.task_events
        for partition in [number for name, number in self._places if name == topic]:
            end = self._read[topic, partition]
            self._ownership[partition] = await ownership_before(self._reader, topic, partition, end)

    async def failed(self, watches: Sequence[Watch], timeout_s: float) -> list[Watch]:
        """Wait; return those that failed, or whose result is not known after ``timeout_s``."""
        seen = Sightings()
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        async with Admin(self._kafka) as admin:
            while True:
                await self._look(admin, watches, seen)
                verdicts = [verdict(watch, seen) for watch in watches]
                over = None not in verdicts or False in verdicts or loop.time() > until
                if over:
                    return [w for w, good in zip(watches, verdicts, strict=True) if not good]
                await asyncio.sleep(_POLL_S)

    async def _look(self, admin: Admin, watches: Sequence[Watch], seen: Sightings) -> None:
        # Offsets first: the work of a group before it acknowledged is read after that.
        passed = []
        for group in {watch.group for watch in watches}:
            places = sorted({(w.topic, w.partition) for w in watches if w.group == group})
            committed = await admin.committed(group, places)
            passed += [
                watch.letter_id
                for watch in watches
                if watch.group == group
                and committed.get((watch.topic, watch.partition), 0) > watch.offset
            ]
        followed = {(dlq(watch.topic), watch.partition) for watch in watches}
        followed |= {(self._topics.task_events, watch.partition) for watch in watches}
        events: dict[int, list[Origin]] = defaultdict(list)
        for record in await self._new(sorted(followed)):
            if record.topic == self._topics.task_events:
                events[record.partition].append(record)
            elif (letter_id := header_text(record.headers, "__dlq.replay.of")) is not None:
                seen.dead_lettered_again.add(letter_id)
        for partition, records in events.items():
            self._note(partition, records, seen)
        seen.read_past.update(passed)

    def _note(self, partition: int, records: Sequence[Origin], seen: Sightings) -> None:
        """Take the next events of a partition; events of a former owner do not count."""
        accepted = read_accepted(records, self._ownership.get(partition))
        self._ownership[partition] = accepted.ownership
        for _, event in accepted.events:
            note(event, seen)

    async def _new(self, places: Sequence[tuple[str, int]]) -> list[Origin]:
        ends = await self._reader.ends(places)
        bounds = {place: (self._read[place], ends[place]) for place in places}
        self._read.update(ends)
        return [r async for records in self._reader.read_all(bounds) for r in records]


def note(event: TaskEvent, seen: Sightings) -> None:
    """Take an accepted event. Pure."""
    if event.cause_offset >= 0:
        cause = (event.cause_topic, event.cause_partition, event.cause_offset)
        seen.tasks[cause] = event.task_id
    if event.status.terminal:
        seen.ends[event.task_id] = event.status
    else:
        seen.ends.pop(event.task_id, None)
