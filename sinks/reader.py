"""Read what the sink wrote. Never the truth about a task that has not ended: the log is."""

from collections.abc import Iterable
from typing import Any

from schemas.records import TaskId
from sinks.pool import Pool, close_pool, connection, open_pool
from sinks.queries import query
from sinks.settings import PostgresSettings
from sinks.stored import StoredLog, StoredStep, StoredTask


class Reader:
    """Queries by id, and counts. Every method may raise ``SinkUnavailableError``: ask later."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
        self._pool: Pool | None = None

    async def open(self) -> None:
        """Connect."""
        self._pool = await open_pool(self._settings)

    async def close(self) -> None:
        """Close the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await close_pool(pool, self._settings.operation_timeout_s)

    async def task(self, task_id: TaskId) -> StoredTask | None:
        """One task; None if it is not (yet) written."""
        found = await self.tasks([task_id])
        return found[0] if found else None

    async def tasks(self, task_ids: Iterable[TaskId]) -> list[StoredTask]:
        """Those of the tasks that are written, in the order of their creation."""
        rows = await self._fetch("read_tasks", list(task_ids))
        return [StoredTask(**row) for row in rows]

    async def steps(self, task_id: TaskId) -> list[StoredStep]:
        """All attempts of all runs of a task, in their order."""
        return [StoredStep(**row) for row in await self._fetch("read_steps", task_id)]

    async def logs(self, task_id: TaskId) -> list[StoredLog]:
        """The audit trail of a task, in the log's order; former lives of its id included."""
        return [StoredLog(**row) for row in await self._fetch("read_logs", task_id)]

    async def count_by_status(self, tenant_id: str | None = None) -> dict[str, int]:
        """How many tasks are in each status that occurs; of one tenant, or of all."""
        rows = await self._fetch("count_by_status", tenant_id)
        return {row["status"]: row["tasks"] for row in rows}

    async def _fetch(self, name: str, argument: object) -> list[dict[str, Any]]:
        if self._pool is None:
            raise RuntimeError("the reader is not open")
        async with connection(self._pool, self._settings) as conn:
            return [dict(row) for row in await conn.fetch(query(name), argument)]
