"""The logs themselves, as the source of tasks for ``--direct``, which has no memory of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from orchestrator.api.replica.live_task import AcceptedTask, Folded, folded
from orchestrator.api.tasks.finder import RefusedCreation, StoredTasks
from orchestrator.cli.arguments import millis
from orchestrator.cli.task.dead_answer import is_letter_of, refusal_of_letter
from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.records import Millis, TaskCreated, TaskEvent, TaskId
from schemas.topics import Topics, dlq
from sinks.errors import SinkUnavailableError
from streams.history.task_log import SKEW_MS, Seen, TaskLife, TaskLog
from streams.kafka.log_reader import LogReader
from tasks.identity import born_at


@dataclass(frozen=True, slots=True)
class LoggedTask:
    """A task whose life was read from the log; without events, the log lost its beginning."""

    task_id: TaskId
    life: Sequence[Seen]

    @property
    def sequence(self) -> int:
        """The sequence of its last event; 0 without one."""
        return self.life[-1].event.sequence if self.life else 0

    @property
    def whole(self) -> bool:
        """True if its first event carries the whole task."""
        return bool(self.life)

    def events(self, after: int) -> list[TaskEvent]:
        """The events with a later sequence."""
        return [seen.event for seen in self.life if seen.event.sequence > after]

    def folded(self) -> Folded:
        """The state of the task; only of a whole one."""
        return folded(None, self.events(0))


class LogSource:
    """The source of ``--direct``: see :class:`~orchestrator.api.tasks.finder.TaskSource`.

    The log is read first, because it is the source of truth. One read at a time.
    """

    def __init__(self, reader: LogReader, topics: Topics, stored: StoredTasks) -> None:
        self._reader = reader
        self._topics = topics
        self._stored = stored
        self.log = TaskLog(reader, topics)

    async def life(self, task_id: TaskId) -> TaskLife:
        """The events of a task in the log, read from the time at which it may have been created.

        That time is in the id (UUIDv7), or in Postgres; without it the whole partition is
        read.
        """
        return await self.log.read(task_id, since=await self._created_at(task_id))

    async def look(self, task_id: TaskId, tenant_id: str | None = None) -> LoggedTask | None:
        """The task in the log of events, of any tenant: who may read the log sees them all."""
        read = await self.life(task_id)
        return LoggedTask(task_id, read.life) if read.life or read.begins_midway else None

    async def look_again(
        self, task_id: TaskId, tenant_id: str | None = None
    ) -> AcceptedTask | RefusedCreation | None:
        """The newest creation of the task, of any tenant, that its owner has not decided yet."""
        partition = await self.log.partition(task_id)
        found: AcceptedTask | None = None
        async for record in self._records_of(task_id, self._topics.task_created, partition):
            with suppress(DecodeError):
                tenant = decode(record.value, TaskCreated).tenant_id
                found = AcceptedTask(partition, record.offset, tenant, record.value or b"")
        if found is None:
            return None
        async for letter in self._records_of(task_id, dlq(self._topics.task_created), partition):
            if is_letter_of(letter, found.offset):
                return refusal_of_letter(letter)
        return found

    async def may_have_forgotten(self, task_id: TaskId) -> bool:
        """False: nothing is remembered from one command to the next."""
        return False

    async def events(self, task_id: TaskId, tenant_id: str | None) -> Sequence[TaskEvent]:
        """Nothing: :meth:`look` has read the whole task if the log still has it."""
        return ()

    async def has_letters(self, task_id: TaskId) -> bool:
        """True if a creation of the task is a dead letter."""
        partition = await self.log.partition(task_id)
        letters = self._records_of(task_id, dlq(self._topics.task_created), partition)
        return bool([letter async for letter in letters])

    async def _created_at(self, task_id: TaskId) -> Millis | None:
        if (since := born_at(task_id)) is not None:
            return since
        with suppress(SinkUnavailableError):
            if (row := await self._stored.task(task_id)) is not None:
                return millis(row.created_at)
        return None

    async def _records_of(
        self, task_id: TaskId, topic: str, partition: int
    ) -> AsyncIterator[Origin]:
        """The records of a task in a partition; read from the time in its id, if it has one."""
        since = born_at(task_id)
        start, end = await self._reader.bounds(topic, partition)
        if since is not None:
            start = max(start, await self._reader.offset_at(topic, partition, since - SKEW_MS))
        async with aclosing(self._reader.read(topic, partition, start, end)) as batches:
            async for records in batches:
                for record in records:
                    if record.key == task_id.encode():
                        yield record
