"""Finds a task for ``--direct``: by the service's own finder, on the logs and on Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from orchestrator.api.tasks.errors import CreationRefusedError, TaskUnknownError
from orchestrator.api.tasks.finder import RefusedCreation, TaskFinder
from orchestrator.api.tasks.history import TaskHistory
from orchestrator.cli.task.log_source import LoggedTask, LogSource
from orchestrator.schema_ids import use_schema_ids
from orchestrator.settings import Settings
from schemas.records import TaskId
from schemas.topics import Topics
from sinks.errors import SinkUnavailableError
from sinks.reads.reader import Reader
from sinks.reads.stored import StoredLog, StoredStep, StoredTask
from sinks.settings import PostgresSettings
from streams.errors import KafkaUnavailableError
from streams.kafka.log_reader import LogReader
from tasks.identity import born_at


class DirectFinder:
    """Looks for one task. Postgres may be down, or not configured."""

    def __init__(self, source: LogSource, stored: PostgresRows) -> None:
        self.source = source
        self._stored = stored
        self._finder: TaskFinder[LoggedTask] = TaskFinder(source, stored)

    async def history(self, task_id: TaskId) -> TaskHistory:
        """The known facts about a task.

        Raises:
            TaskUnknownError: neither the log nor Postgres knows it.
            TaskExpiredError: only Postgres may have all of it, and it did not answer.
            SinkUnavailableError: Postgres may know it, but did not answer.
            CreationRefusedError: admission refused it, with that code.
        """
        try:
            return await self._finder.history(await self._finder.find(task_id))
        except TaskUnknownError as error:
            raise TaskUnknownError(f"{error}{self._stored.unasked}") from None

    async def tenant(self, task_id: TaskId) -> str:
        """The tenant of a task; raises as :meth:`history`."""
        if born_at(task_id) is None:
            with suppress(SinkUnavailableError):
                if (row := await self._stored.task(task_id)) is not None:
                    return row.tenant_id
        return (await self.history(task_id)).task.tenant_id

    async def check_not_refused(self, task_id: TaskId) -> None:
        """Make sure that a command about a task can be decided.

        Returns also if the task is unknown: it may be created soon.

        Raises:
            CreationRefusedError: admission refused its creation, with that code.
        """
        if not await self.source.has_letters(task_id) or (await self.source.life(task_id)).life:
            return
        found = await self.source.look_again(task_id)
        if isinstance(found, RefusedCreation):
            raise CreationRefusedError(found.code, found.message)


class PostgresRows:
    """The rows of tasks, read on a connection that is opened when it is first needed.

    Every method may raise ``SinkUnavailableError``. Without a DSN there are no rows.
    """

    def __init__(self, settings: PostgresSettings, opened: AsyncExitStack) -> None:
        self._settings = settings
        self._opened = opened
        self._reader: Reader | None = None

    @property
    def unasked(self) -> str:
        """What to add to "there is no such task" if Postgres was not asked."""
        if self._settings.dsn:
            return ""
        return " in the log; ORCH_POSTGRES_DSN is not set, so only it was asked"

    async def task(self, task_id: TaskId, tenant_id: str | None = None) -> StoredTask | None:
        """One task; None if it is not (yet) written."""
        if not self._settings.dsn:
            return None
        found = await (await self._open()).tasks([task_id], tenant_id)
        return found[0] if found else None

    async def steps(self, task_id: TaskId) -> Sequence[StoredStep]:
        """All attempts of all runs of a task."""
        return await (await self._open()).steps(task_id) if self._settings.dsn else ()

    async def logs(self, task_id: TaskId) -> Sequence[StoredLog]:
        """The audit trail of a task, including former lives of its id."""
        return await (await self._open()).logs(task_id) if self._settings.dsn else ()

    async def _open(self) -> Reader:
        if self._reader is None:
            reader = Reader(self._settings)
            await reader.open()
            self._opened.push_async_callback(reader.close)
            self._reader = reader
        return self._reader


@asynccontextmanager
async def open_finder(
    settings: Settings, *, timeout_s: float | None
) -> AsyncIterator[DirectFinder]:
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
            AsyncExitStack() as opened,
        ):
            stored = PostgresRows(settings.postgres, opened)
            yield DirectFinder(LogSource(reader, Topics(settings.topics), stored), stored)
    except TimeoutError as error:
        raise KafkaUnavailableError(f"not done within {timeout_s:g} s") from error
