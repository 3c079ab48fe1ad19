"""Replay into the sink: makes the rows of a task again from its whole history in the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import structlog

from schemas.dead_letter import Origin
from schemas.records import Millis, TaskId
from schemas.topics import Topics
from sinks.errors import HistoryExpiredError, SinkRowError, SinkUnavailableError
from sinks.letters.rewriter import LockedPartition, Rewriter
from sinks.rows import LogEvent
from streams.history.acceptance import Ownership
from streams.history.accepted import ownership_at_start, read_accepted
from streams.kafka.log_reader import LogReader

log = structlog.get_logger()

_TASKS_MAX = 100
"""Tasks of one transaction: limits how long the sink waits for it."""


class LateRows:
    """Writes rows that the sink had to refuse. The ``Rows`` of a replay.

    A dead letter of ``task-events`` is never sent into its topic, which only owners write.
    Its task's events are read from the log, from its start up to the sink's position, once
    for each partition; a transaction then replaces the task's rows. The sink's writes to
    that partition wait meanwhile, so that both see one order.
    """

    def __init__(self, reader: LogReader, topics: Topics, rewriter: Rewriter | None) -> None:
        """``rewriter`` is None while Postgres is down."""
        self._reader = reader
        self._topics = topics
        self._rewriter = rewriter

    async def write(
        self, partition: int, task_ids: Sequence[TaskId]
    ) -> Mapping[TaskId, str | None] | None:
        """Write the rows of tasks of one partition.

        Returns:
            For each task None if its rows are written, otherwise the code of the refusal. None
            instead of a list if Postgres is down, or refuses every row: try again later.
        """
        if self._rewriter is None:
            return None
        history = _History(self._reader, self._topics.task_events, partition, task_ids)
        outcomes: dict[TaskId, str | None] = {}
        try:
            # Most of the log is read before the sink has to wait.
            await history.read_to_end()
            for at in range(0, len(task_ids), _TASKS_MAX):
                chunk = task_ids[at : at + _TASKS_MAX]
                await self._write(partition, chunk, history, outcomes)
        except SinkUnavailableError as error:
            log.warning("postgres_away", code=error.code, reason=str(error))
            return None
        return outcomes

    async def _write(
        self,
        partition: int,
        task_ids: Sequence[TaskId],
        history: _History,
        outcomes: dict[TaskId, str | None],
    ) -> None:
        assert self._rewriter is not None
        known = [task_id for task_id in task_ids if history.is_whole(task_id)]
        outcomes.update(dict.fromkeys(set(task_ids) - set(known), HistoryExpiredError.code))
        if not known:
            return
        try:
            async with self._rewriter.locked(partition) as locked:
                await self._rewrite(locked, known, history)
        except SinkRowError as error:
            if len(known) == 1:
                await self._rewriter.check_others_are_accepted(history.began_at(known[0]))
                outcomes[known[0]] = error.code
                return
            middle = len(known) // 2
            await self._write(partition, known[:middle], history, outcomes)
            await self._write(partition, known[middle:], history, outcomes)
        else:
            outcomes.update(dict.fromkeys(known))

    async def _rewrite(
        self, locked: LockedPartition, task_ids: Sequence[TaskId], history: _History
    ) -> None:
        await history.read_to(locked.next_offset)
        await locked.rewrite(task_ids, history.events(task_ids, before=locked.next_offset))


class _History:
    """The accepted events of some tasks, read from one partition of the log."""

    def __init__(
        self, reader: LogReader, topic: str, partition: int, task_ids: Sequence[TaskId]
    ) -> None:
        self._reader = reader
        self._place = (topic, partition)
        self._events: dict[TaskId, list[LogEvent]] = defaultdict(list)
        self._wanted = set(task_ids)
        self._ownership: Ownership | None = None
        self._next_offset: int | None = None

    async def read_to_end(self) -> None:
        _, end = await self._reader.bounds(*self._place)
        await self.read_to(end)

    async def read_to(self, end: int) -> None:
        if self._next_offset is None:
            first, last = await self._reader.bounds(*self._place)
            self._ownership = await ownership_at_start(self._reader, *self._place, first, last)
            self._next_offset = first
        if self._next_offset >= end:
            return
        async for records in self._reader.read(*self._place, self._next_offset, end):
            self._take(records)
        self._next_offset = end

    def is_whole(self, task_id: TaskId) -> bool:
        """True if the log still holds the task from its first event on."""
        events = self._events.get(task_id)
        return bool(events) and events[0].event.sequence == 1  # type: ignore[index]

    def began_at(self, task_id: TaskId) -> Millis:
        """When the task was created; of an incomplete history, when its first event occurred."""
        return self._events[task_id][0].event.occurred_at

    def events(self, task_ids: Sequence[TaskId], *, before: int) -> list[LogEvent]:
        """The events of these tasks in the log's order."""
        found = [e for task_id in task_ids for e in self._events[task_id] if e.offset < before]
        return sorted(found, key=lambda event: event.offset)

    def _take(self, records: Sequence[Origin]) -> None:
        read = read_accepted(records, self._ownership)
        self._ownership = read.ownership
        for record, event in read.events:
            if event.task_id in self._wanted:
                self._events[event.task_id].append(LogEvent(record.partition, record.offset, event))
