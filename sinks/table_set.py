"""A second set of the projection's tables, beside the first, which a rebuild fills.

It has a schema of its own, made by the same migrations, and is dropped at the end. A lock of the
session ensures that only one session at a time has a table set.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import asyncpg
import structlog

from schemas.records import Millis, TaskId
from sinks.counts.recount import Recount, recount
from sinks.dsn import check_files, wrong_dsn
from sinks.errors import RebuildRunsError, ours
from sinks.missing import Missing
from sinks.pool import Connection, server_settings
from sinks.queries import SCHEMA, in_schema, query
from sinks.schema.migration import load_migrations
from sinks.settings import PostgresSettings
from sinks.writer import Position, Writer

_log = structlog.get_logger()

BUILT_SCHEMA = f"{SCHEMA}_rebuild"

_HOLD_TIMEOUT = "60s"
"""For the lock that stops the sink at the end: it waits for at most one running batch."""


@dataclass(frozen=True, slots=True)
class Swapped:
    """The changes of a swap."""

    tasks: int
    """Whole tasks: their rows now match the log."""
    changed: dict[str, int]
    """By table: rows that were written because they were new or different."""
    missing: Missing = field(default_factory=Missing)
    """The parts that the log could not restore."""


class TableSet:
    """The open table set. ``writer`` writes into it as the sink writes into the projection."""

    def __init__(self, settings: PostgresSettings, conn: Connection, writer: Writer) -> None:
        self._settings = settings
        self._conn = conn
        self.writer = writer

    async def sink_positions(self) -> dict[int, Position]:
        """The position of the sink in each partition of the log."""
        return await read_positions(self._conn)

    @asynccontextmanager
    async def holding_the_sink(self) -> AsyncIterator[dict[int, Position]]:
        """One transaction in which the sink's positions, which are yielded, cannot move.

        The sink waits, and readers notice nothing. The changes of :meth:`swap` in the block become
        visible together at its end, or not at all.
        """
        with _our_errors(self._conn):
            async with self._conn.transaction():
                await self._conn.execute(query("hold_positions"))
                yield await read_positions(self._conn)

    async def swap(
        self,
        first_offsets: Mapping[int, int],
        positions: Mapping[int, Position],
        recounts: Mapping[int, Recount],
    ) -> Swapped:
        """Replace the stored rows by the built ones; call it within :meth:`holding_the_sink`.

        Rows of tasks whose created event is in the log are replaced by the built ones. Rows of
        older tasks stay. Rows that are equal already are not touched.

        Args:
            first_offsets: for each partition, the first offset of the log that was read.
            positions: the positions of the sink that have to change.
            recounts: what becomes of the counts of each partition.
        """
        conn = self._conn
        await conn.execute(query("whole_tasks"))
        await conn.execute("ANALYZE whole_tasks")
        await conn.execute(query("log_bounds"))
        await conn.execute(
            query("fill_log_bounds"), list(first_offsets), list(first_offsets.values())
        )
        await conn.execute(query("ensure_rebuilt_months"))
        for name in ("drop_old_tasks", "drop_old_steps", "drop_old_logs"):
            await conn.execute(query(name))
        changed = {
            "tasks": await self._copy("tasks", "id"),
            "task_steps": await self._copy("task_steps", "task_id"),
            "task_execution_logs": await self._copy("task_execution_logs", None),
        }
        for partition, position in positions.items():
            await conn.execute(
                query("set_position"),
                partition,
                position.next_offset,
                position.epoch,
                position.owner,
            )
        await recount(conn, recounts)
        tasks = await conn.fetchval("SELECT count(*) FROM whole_tasks")
        return Swapped(tasks, changed)

    async def tasks_without_rows(self, remembered: Mapping[TaskId, Millis]) -> list[str]:
        """The ids of tasks that exist and have no row, in order.

        Args:
            remembered: tasks that routers know, with the times of their creation.
        """
        with _our_errors(self._conn):
            rows = await self._conn.fetch(
                query("tasks_without_rows"), list(remembered), list(remembered.values())
            )
        return [row["id"] for row in rows]

    async def _copy(self, table: str, task_column: str | None) -> int:
        """Insert the missing rows of a table: only of whole tasks, or all."""
        rows = await self._conn.fetch(query("insertable_columns"), f"{SCHEMA}.{table}")
        columns = ", ".join(row[0] for row in rows)
        wanted = f"WHERE {task_column} IN (SELECT id FROM whole_tasks)" if task_column else ""
        done = await self._conn.execute(
            f"INSERT INTO {SCHEMA}.{table} ({columns})"
            f" SELECT {columns} FROM {BUILT_SCHEMA}.{table} {wanted} ON CONFLICT DO NOTHING"
        )
        return int(done.rsplit(" ", 1)[-1])


@asynccontextmanager
async def open_table_set(settings: PostgresSettings) -> AsyncIterator[TableSet]:
    """Make an empty table set; drop it at the end.

    The remains of an interrupted run are dropped at the start.

    Raises:
        RebuildRunsError: another session has a table set. Nothing was changed.
        SinkUnavailableError: Postgres did not answer; the projection is unchanged.
    """
    async with long_session(settings, "rebuild") as conn:
        if not await conn.fetchval(query("try_lock_rebuild")):
            raise RebuildRunsError("another rebuild or verification runs on this database")
        await _make(conn)
        writer = Writer(settings, schema=BUILT_SCHEMA)
        await writer.open()
        try:
            yield TableSet(settings, conn, writer)
        finally:
            await writer.close()
            if not conn.is_closed():
                await conn.execute(f"DROP SCHEMA IF EXISTS {BUILT_SCHEMA} CASCADE")


@contextmanager
def _readable_dsn() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise wrong_dsn(error) from None


@asynccontextmanager
async def long_session(settings: PostgresSettings, name: str) -> AsyncIterator[Connection]:
    """A connection whose statements may take hours; the driver's errors become ours."""
    conn: asyncpg.Connection[asyncpg.Record] | None = None
    check_files(settings.dsn)
    with _our_errors(None), _readable_dsn():
        conn = await asyncpg.connect(
            settings.dsn,
            timeout=settings.connect_timeout_s,
            server_settings={
                **server_settings(settings),
                "application_name": f"ai-orchestrator-{name}",
                "statement_timeout": "0",
                "idle_in_transaction_session_timeout": "0",
                "lock_timeout": _HOLD_TIMEOUT,
            },
        )
    try:
        with _our_errors(conn):
            yield conn
    finally:
        # Cut, not closed: a running transaction is rolled back, and its locks go with it.
        conn.terminate()


async def read_positions(conn: Connection) -> dict[int, Position]:
    """The sink's position in every partition, as this session sees it."""
    rows = await conn.fetch(query("read_all_positions"))
    return {
        row["log_partition"]: Position(row["next_offset"], row["epoch"], row["owner"])
        for row in rows
    }


async def _make(conn: Connection) -> None:
    async with conn.transaction():
        await conn.execute(f"DROP SCHEMA IF EXISTS {BUILT_SCHEMA} CASCADE")
        await conn.execute(f"CREATE SCHEMA {BUILT_SCHEMA}")
        for migration in load_migrations():
            await conn.execute(in_schema(migration.up, BUILT_SCHEMA))


class _our_errors:  # noqa: N801  # reads as a statement: with _our_errors(conn)
    def __init__(self, conn: Connection | None) -> None:
        self._conn = conn

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, Exception):
            return
        lost = self._conn is not None and self._conn.is_closed()
        if (translated := ours(error, connection_lost=lost)) is not None:
            raise translated from error
