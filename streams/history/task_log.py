"""One task's history in ``task-events``, read without Postgres and without a group."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from schemas.records import EventKind, Millis, TaskEvent, TaskId
from schemas.topics import Topics
from streams.errors import TopicsDifferError
from streams.history.task_sieve import TaskSieve
from streams.kafka.log_reader import LogReader
from streams.kafka.partitioner import partition_of

SKEW_MS = 120_000
"""How far the clocks that make ids, publish and own may differ. A log is read from this time
before a given time; if the task is not found there, the whole log is searched."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An accepted event and its offset in the task's partition."""

    offset: int
    event: TaskEvent


@dataclass(slots=True)
class TaskLife:
    """The events of a task that were read so far, and where reading goes on."""

    partition: int
    sieve: TaskSieve
    next_offset: int
    life: list[Seen] = field(default_factory=list)
    """The events of the id's last life, gap-free; empty if the log does not have its task."""
    begins_midway: bool = False
    """True: the log no longer holds the beginning of the task, so ``life`` is not all of it."""

    def add(self, seen: Seen) -> bool:
        """Take the next accepted event; return False, and leave it out, if it does not follow."""
        event = seen.event
        if event.kind is EventKind.CREATED and event.sequence == 1:
            self.life, self.begins_midway = [seen], False
            return True
        if not self.life:
            carries_all = event.kind is EventKind.RETRIED and event.task is not None
            self.begins_midway = not carries_all
            if carries_all:
                self.life.append(seen)
            return carries_all
        if event.sequence != self.life[-1].event.sequence + 1:
            return False
        self.life.append(seen)
        return True


Events = AsyncGenerator[Seen, None]


class TaskLog:
    """Reads histories. One read at a time; the reader bounds every single wait.

    Raises:
        KafkaUnavailableError: from every method; nothing was changed, read again.
    """

    def __init__(self, reader: LogReader, topics: Topics) -> None:
        self._reader = reader
        self._topics = topics

    async def partition(self, task_id: TaskId) -> int:
        """The partition of a task, in every co-partitioned topic.

        Raises:
            TopicsDifferError: the topic does not exist.
        """
        partitions = await self._reader.partitions(self._topics.task_events)
        if not partitions:
            raise TopicsDifferError(f"there is no topic {self._topics.task_events}")
        return partition_of(task_id.encode(), len(partitions))

    async def end(self, topic: str, partition: int) -> int:
        """The offset that the next record of a partition gets."""
        return (await self._reader.bounds(topic, partition))[1]

    async def read(self, task_id: TaskId, *, since: Millis | None = None) -> TaskLife:
        """Read a task's history, up to the end that the log has now.

        Args:
            task_id: the task.
            since: a time before which nothing about the task was written, give or take
                ``SKEW_MS``. The log is read from that time; it is read from its first record if the
                task was not found or the result is doubtful. None reads the whole log: seconds
                for a million records.
        """
        partition = await self.partition(task_id)
        first, end = await self._reader.bounds(self._topics.task_events, partition)
        start = first if since is None else await self._start(partition, since, first, end)
        history = await self._read(task_id, partition, start, end, whole=start == first)
        if start > first and (history.sieve.doubtful or not history.life):
            return await self._read(task_id, partition, first, end, whole=True)
        return history

    async def remains(self, task_id: TaskId) -> list[TaskEvent]:
        """The accepted events of the id's last life that the log still has, in order.

        Unlike :meth:`read`, this returns also the events of a task whose beginning is gone. It
        reads the whole partition: seconds for a million records.
        """
        partition = await self.partition(task_id)
        first, end = await self._reader.bounds(self._topics.task_events, partition)
        # Retention removes markers: the owner at that point is learnt from its events.
        sieve, life = TaskSieve(task_id, whole=first == 0), list[TaskEvent]()
        batches = self._reader.read(self._topics.task_events, partition, first, end)
        async with aclosing(batches):
            async for records in batches:
                for event in filter(None, map(sieve.take, records)):
                    life = [event] if event.kind is EventKind.CREATED else [*life, event]
        return life

    async def follow(self, history: TaskLife) -> Events:
        """Yield the events that follow a history, for ever, and add them to it."""
        async with aclosing(self._sieved(history)) as events:
            async for seen in events:
                if history.add(seen):
                    yield seen

    async def accepted_from(self, task_id: TaskId, offset: int, *, now: Millis) -> Events:
        """Yield the task's events at or after an offset near the log's end, for ever.

        Reading begins ``SKEW_MS`` earlier, to learn who owns the partition. Earlier events are not
        read, so this method cannot show whether an event is the next one of its task.
        """
        partition = await self.partition(task_id)
        first, _ = await self._reader.bounds(self._topics.task_events, partition)
        start = await self._start(partition, now, first, offset)
        history = TaskLife(partition, TaskSieve(task_id, whole=start == first), start)
        async for seen in self._sieved(history):
            if seen.offset >= offset:
                yield seen

    async def _sieved(self, history: TaskLife) -> Events:
        starts = {history.partition: history.next_offset}
        async with aclosing(self._reader.follow(self._topics.task_events, starts)) as batches:
            async for records in batches:
                for record in records:
                    history.next_offset = record.offset + 1
                    event = history.sieve.take(record)
                    if event is not None:
                        yield Seen(record.offset, event)

    async def _start(self, partition: int, since: Millis, first: int, last: int) -> int:
        found = await self._reader.offset_at(self._topics.task_events, partition, since - SKEW_MS)
        return max(first, min(found, last))

    async def _read(
        self, task_id: TaskId, partition: int, start: int, end: int, *, whole: bool
    ) -> TaskLife:
        history = TaskLife(partition, TaskSieve(task_id, whole=whole), next_offset=end)
        batches = self._reader.read(self._topics.task_events, partition, start, end)
        async with aclosing(batches):
            async for records in batches:
                for record in records:
                    event = history.sieve.take(record)
                    if event is not None and not history.add(Seen(record.offset, event)):
                        history.sieve.doubtful |= not whole
        return history


def ended(life: Sequence[Seen]) -> bool:
    """True if the last event that changed the task ended it."""
    return bool(life) and life[-1].event.status.terminal
