"""Reads of Postgres: finished and old tasks, lists, audit trails."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import asyncpg

from schemas.records import TaskId
from sinks.errors import MigrationError, PostgresRefusedError, SinkUnavailableError
from sinks.reads.paging import NewestCursor, QueueCursor, TaskFilter
from sinks.reads.reader import Reader
from sinks.reads.stored import ListedTask, StoredLog, StoredStep, StoredTask
from sinks.reads.usage import UsageFilter, UsageRow
from sinks.settings import PostgresSettings

T = TypeVar("T")

_ANSWER_S = 1.5
"""Together with the rest of a call this stays below two seconds, the limit for reporting an
outage."""


class Projection:
    """A reader that connects when it is first needed, and raises within 1.5 s if it cannot.

    Every method then raises ``SinkUnavailableError``: the caller can still answer from memory.
    """

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = dataclasses.replace(
            settings,
            connect_timeout_s=min(settings.connect_timeout_s, _ANSWER_S),
            lock_timeout_ms=min(settings.lock_timeout_ms, 1_000),
        )
        self._reader: Reader | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        if self._reader is not None:
            await self._reader.close()

    async def task(self, task_id: TaskId, tenant_id: str | None = None) -> StoredTask | None:
        """One task, of this tenant or of any; the newest life of its id."""
        return (await self.tasks([task_id], tenant_id)).get(task_id)

    async def tasks(
        self, task_ids: Sequence[TaskId], tenant_id: str | None = None
    ) -> dict[TaskId, StoredTask]:
        """The tasks among these that are stored, of this tenant or of any."""
        found = await self.ask(lambda reader: reader.tasks(task_ids, tenant_id))
        return {task.id: task for task in found}

    async def steps(self, task_id: TaskId) -> list[StoredStep]:
        """All attempts of a task."""
        return await self.ask(lambda reader: reader.steps(task_id))

    async def logs(self, task_id: TaskId) -> list[StoredLog]:
        """The audit trail of a task."""
        return await self.ask(lambda reader: reader.logs(task_id))

    async def newest(
        self, which: TaskFilter, *, limit: int, after: NewestCursor | None
    ) -> list[ListedTask]:
        """A page, newest first."""
        return await self.ask(lambda reader: reader.list_tasks(which, limit=limit, after=after))

    async def queue(
        self, which: TaskFilter, *, limit: int, after: QueueCursor | None
    ) -> list[ListedTask]:
        """A page of pending tasks, most urgent first."""
        return await self.ask(lambda reader: reader.list_queue(which, limit=limit, after=after))

    async def usage(self, which: UsageFilter) -> list[UsageRow]:
        """The usage of tasks."""
        return await self.ask(lambda reader: reader.usage(which))

    async def next_offsets(self) -> dict[int, int]:
        """The position of the sink in each partition."""
        return await self.ask(lambda reader: reader.next_offsets())

    async def ask(self, query: Callable[[Reader], Awaitable[T]]) -> T:
        """Run any other query of the reader."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await query(await self._opened())
        except (TimeoutError, asyncpg.PostgresError) as error:
            # Also if the schema does not exist yet: another program makes the projection.
            raise SinkUnavailableError(
                f"Postgres does not answer: {type(error).__name__}"
            ) from error
        except (MigrationError, PostgresRefusedError) as error:
            # Of a reader that is opened, or of a table of another version: live tasks are answered.
            raise SinkUnavailableError(f"{error.code}: {error}") from error

    async def _opened(self) -> Reader:
        if self._reader is None:
            async with self._opening:
                if self._reader is None:
                    reader = Reader(self._settings)
                    await reader.open()
                    self._reader = reader
        return self._reader
