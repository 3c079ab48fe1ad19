"""Finds a task: in the log, in Postgres, or in task-created if its owner has not decided yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

from orchestrator.api.tasks.sources import stored_history
from orchestrator.cli.arguments import millis
from orchestrator.cli.errors import TaskExpiredError, TaskUnknownError
from orchestrator.cli.task.dead_answer import answer_of_letter, is_letter_of
from orchestrator.cli.task.ports import View
from orchestrator.cli.task.view import view_of_history, view_of_log, view_of_wish
from orchestrator.schema_ids import use_schema_ids
from orchestrator.settings import Settings
from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.records import TaskCreated, TaskId
from schemas.topics import Topics, dlq
from sinks.errors import SinkUnavailableError
from sinks.reads.reader import Reader
from sinks.reads.stored import StoredTask
from streams.errors import KafkaUnavailableError
from streams.history.task_log import SKEW_MS, TaskLife, TaskLog
from streams.kafka.log_reader import LogReader
from tasks.identity import born_at


class TaskFinder:
    """Looks for one task. Postgres may be down, or not configured."""

    def __init__(self, settings: Settings, reader: LogReader) -> None:
        self._settings = settings
        self._reader = reader
        self._topics = Topics(settings.topics)
        self.log = TaskLog(reader, self._topics)

    async def view(self, task_id: TaskId) -> View:
        """The known facts about a task.

        The log is read first, because it is the source of truth; Postgres if the log no longer
        holds the whole task; then task-created.

        Raises:
            TaskUnknownError: neither the log nor Postgres knows it.
            TaskExpiredError: only Postgres may have all of it, and it did not answer.
            SinkUnavailableError: Postgres may know it, but did not answer.
            AnswerError: admission refused it, with that code.
        """
        history = await self.history(task_id)
        if history.life:
            return view_of_log(history.life)
        away: SinkUnavailableError | None = None
        try:
            if (stored := await self._stored_view(task_id)) is not None:
                return stored
        except SinkUnavailableError as error:
            away = error
        if history.begins_midway:
            message = f"the log no longer holds all of {task_id}, and Postgres has no answer"
            raise TaskExpiredError(message) from away
        if (wish := await self._wish(task_id, history.partition)) is not None:
            return view_of_wish(wish)
        if away is not None:
            raise away
        raise TaskUnknownError(f"there is no task {task_id}{self._unasked()}")

    async def history(self, task_id: TaskId) -> TaskLife:
        """The events of a task in the log, read from the time at which it may have been created.

        That time is in the id (UUIDv7), or in Postgres; without it the whole partition is
        read.
        """
        since = born_at(task_id)
        if since is None and (stored := await self._row(task_id)) is not None:
            since = millis(stored.created_at)
        return await self.log.read(task_id, since=since)

    async def tenant(self, task_id: TaskId) -> str:
        """The tenant of a task; raises as :meth:`view`."""
        if born_at(task_id) is None and (stored := await self._row(task_id)) is not None:
            return stored.tenant_id
        return str((await self.view(task_id))["tenant_id"])

    async def check_not_refused(self, task_id: TaskId) -> None:
        """Make sure that a command about a task can be decided.

        Returns also if the task is unknown: it may be created soon.

        Raises:
            AnswerError: admission refused its creation, with that code.
        """
        partition = await self.log.partition(task_id)
        letters = self._records_of(task_id, dlq(self._topics.task_created), partition)
        if [letter async for letter in letters] and not (await self.history(task_id)).life:
            await self._wish(task_id, partition)

    async def _stored_view(self, task_id: TaskId) -> View | None:
        async with self._open_reader() as reader:
            if reader is None or (task := await reader.task(task_id)) is None:
                return None
            return view_of_history(await stored_history(reader, task))

    async def _row(self, task_id: TaskId) -> StoredTask | None:
        """The row if Postgres answers: it only shows where to begin to read."""
        try:
            async with self._open_reader() as reader:
                return await reader.task(task_id) if reader else None
        except SinkUnavailableError:
            return None

    @asynccontextmanager
    async def _open_reader(self) -> AsyncIterator[Reader | None]:
        """A reader of Postgres; None if Postgres is not configured."""
        if not self._settings.postgres.dsn:
            yield None
            return
        reader = Reader(self._settings.postgres)
        await reader.open()
        try:
            yield reader
        finally:
            await reader.close()

    async def _wish(self, task_id: TaskId, partition: int) -> TaskCreated | None:
        """The newest record of the task in task-created that was not refused.

        Raises:
            AnswerError: it is a dead letter, with the code of the reason.
        """
        found: tuple[int, TaskCreated] | None = None
        async for record in self._records_of(task_id, self._topics.task_created, partition):
            with suppress(DecodeError):
                found = record.offset, decode(record.value, TaskCreated)
        if found is None:
            return None
        offset, wish = found
        async for letter in self._records_of(task_id, dlq(self._topics.task_created), partition):
            if is_letter_of(letter, offset):
                raise answer_of_letter(letter)
        return wish

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

    def _unasked(self) -> str:
        asked = bool(self._settings.postgres.dsn)
        return "" if asked else " in the log; ORCH_POSTGRES_DSN is not set, so only it was asked"


@asynccontextmanager
async def open_finder(settings: Settings, *, timeout_s: float | None) -> AsyncIterator[TaskFinder]:
    """A finder, for at most ``timeout_s``; None: without a limit.

    Raises:
        SchemaRegistryError: a registry is set and does not answer.
        KafkaUnavailableError: no broker answered, or the log could not be read in that time.
    """
    await use_schema_ids(settings)
    client_id = f"{settings.kafka.client_id}-task"
    try:
        async with (
            asyncio.timeout(timeout_s),
            LogReader(settings.kafka, client_id=client_id) as reader,
        ):
            yield TaskFinder(settings, reader)
    except TimeoutError as error:
        raise KafkaUnavailableError(f"not done within {timeout_s:g} s") from error
