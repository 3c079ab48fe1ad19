"""Reads what the sink wrote. For a task that has not ended, the log is the source of truth."""

from collections.abc import Iterable
from typing import Any

import asyncpg

from schemas.records import TaskId
from sinks.database import Database
from sinks.errors import (
    PostgresRefusedError,
    PostgresTlsError,
    SchemaMissingError,
    SinkBlockedError,
    SinkRowError,
    SinkUnavailableError,
)
from sinks.pool import PLAN_FOR_VALUES
from sinks.queries import query
from sinks.reads.paging import NewestCursor, QueueCursor, TaskFilter
from sinks.reads.stored import ListedTask, StoredLog, StoredStep, StoredTask
from sinks.reads.usage import UsageFilter, UsageRow
from sinks.settings import PostgresSettings


class Reader:
    """Tasks by id, lists, counts and sums.

    Every method may raise ``SinkUnavailableError``: try again later. Lists are read in pages: pass
    the cursor of the last task of a page, and no task is listed twice or left out, whatever was
    written meanwhile. (A task that changes its position is listed by its position at that time.)
    """

    def __init__(self, settings: PostgresSettings) -> None:
        self._database = Database(settings, planning=PLAN_FOR_VALUES, reads=True)

    async def open(self) -> None:
        """Connect, and check that the schema exists.

        Raises:
            SinkUnavailableError: try again later; SchemaMissingError: no migration was applied.
            PostgresRefusedError: a wrong password, an unknown database, a missing right, a wrong
                DSN, or a wrong certificate; its code is that of the cause.
            MigrationError: a migration that this program needs was not applied.
        """
        try:
            await self._database.open()
        except SchemaMissingError:
            raise
        except PostgresTlsError as error:
            refused = PostgresRefusedError(str(error))
            refused.code = error.code
            raise refused from error
        except (SinkBlockedError, SinkRowError, asyncpg.PostgresError) as error:
            raise PostgresRefusedError(str(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()

    async def task(self, task_id: TaskId) -> StoredTask | None:
        """One task; None if it is not (yet) written."""
        found = await self.tasks([task_id])
        return found[0] if found else None

    async def tasks(
        self, task_ids: Iterable[TaskId], tenant_id: str | None = None
    ) -> list[StoredTask]:
        """The tasks that are written, of one tenant or of all, in the order of their creation."""
        rows = await self.fetch("read_tasks", list(task_ids), tenant_id)
        for row in rows:
            row["steps"] = row.pop("whole_steps") or row["steps"]
        return [StoredTask(**row) for row in rows]

    async def steps(self, task_id: TaskId) -> list[StoredStep]:
        """All attempts of all runs of a task, in their order."""
        return [StoredStep(**row) for row in await self.fetch("read_steps", task_id)]

    async def logs(self, task_id: TaskId) -> list[StoredLog]:
        """The audit trail of a task, in the log's order, including former lives of its id."""
        return [StoredLog(**row) for row in await self.fetch("read_logs", task_id)]

    async def count_by_status(self, tenant_id: str | None = None) -> dict[str, int]:
        """The number of tasks in each status that occurs; of one tenant, or of all."""
        rows = await self.fetch("count_by_status", tenant_id)
        return {row["status"]: row["tasks"] for row in rows}

    async def list_tasks(
        self, which: TaskFilter, *, limit: int, after: NewestCursor | None = None
    ) -> list[ListedTask]:
        """A page of at most ``limit`` tasks, newest first."""
        rows = await self.fetch(
            "list_tasks",
            which.status,
            which.type,
            which.tenant_id,
            which.conversation_id,
            which.since,
            which.until,
            after.created_at if after else None,
            after.id if after else None,
            limit,
        )
        return [ListedTask(**row) for row in rows]

    async def list_queue(
        self, which: TaskFilter, *, limit: int, after: QueueCursor | None = None
    ) -> list[ListedTask]:
        """A page of at most ``limit`` pending tasks: the most urgent first, then the oldest.

        ``which`` may name type, tenant and time; these filters are applied while the queue is
        read, so that a page of a rare value costs as much as reading the whole queue.
        """
        at = after or QueueCursor.start()
        rows = await self.fetch(
            "list_queue",
            which.type,
            which.tenant_id,
            which.since,
            which.until,
            at.priority,
            at.created_at,
            at.id,
            limit,
        )
        return [ListedTask(**row) for row in rows]

    async def usage(self, which: UsageFilter) -> list[UsageRow]:
        """What attempts consumed, grouped by the requested dimensions."""
        rows = await self.fetch("usage", list(which.by), which.since, which.until, which.tenant_id)
        return [UsageRow.of(row) for row in rows]

    async def next_offsets(self) -> dict[int, int]:
        """For each partition of the log that was ever written: its first unwritten offset."""
        rows = await self.fetch("next_offsets")
        return {row["log_partition"]: row["next_offset"] for row in rows}

    async def fetch(self, name: str, *arguments: object) -> list[dict[str, Any]]:
        """The rows of a named query."""
        return await self.fetch_sql(query(name), *arguments)

    async def fetch_sql(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        """The rows of a statement that was composed from named queries."""
        try:
            async with self._database.connection() as conn:
                return [dict(row) for row in await conn.fetch(statement, *arguments)]
        except PostgresRefusedError as error:
            # The schema does not exist (any more): another program makes it.
            raise SinkUnavailableError(str(error)) from error
