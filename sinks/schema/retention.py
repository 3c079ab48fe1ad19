"""Deletes old months: drops whole partitions, at the same cost for any number of rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import structlog

from sinks.pool import Connection
from sinks.queries import SCHEMA, query
from sinks.settings import PostgresSettings
from sinks.table_set import long_session

_log = structlog.get_logger()

_TABLES = ("tasks", "task_execution_logs")


@dataclass(frozen=True, slots=True)
class OldMonth:
    """A partition that is old enough to be dropped."""

    name: str
    unfinished: int
    """Tasks in it that have not ended; a month with unfinished tasks is kept."""


async def drop_months(
    settings: PostgresSettings, before: datetime, *, dry_run: bool = False
) -> list[OldMonth]:
    """Drop the months that ended before a time, oldest first; return them.

    For each month of tasks: the attempts of its tasks are deleted, the partition is detached
    (concurrently: readers and the sink go on), then dropped. The next run finishes an interrupted
    one. A rebuild restores the rows while the log still holds their tasks.

    Raises:
        SinkUnavailableError: a lock was not available, or Postgres is down; earlier months
            are dropped. Run it again.
    """
    found = []
    async with long_session(settings, "retention") as conn:
        for table in _TABLES:
            for row in await conn.fetch(query("old_months"), before.date().replace(day=1), table):
                name = f"{SCHEMA}.{row['name']}"
                unfinished = await _unfinished(conn, name) if table == "tasks" else 0
                found.append(OldMonth(row["name"], unfinished))
                if not unfinished and not dry_run:
                    await _drop(conn, table, name, row["attached"], row["pending"])
                    _log.info("sink_month_dropped", name=row["name"])
    return found


async def _unfinished(conn: Connection, name: str) -> int:
    return int(
        await conn.fetchval(
            f"SELECT count(*) FROM {name} WHERE status NOT IN ('completed', 'failed', 'cancelled')"
        )
    )


async def _drop(conn: Connection, table: str, name: str, attached: bool, pending: bool) -> None:
    if table == "tasks":
        await conn.execute(
            f"DELETE FROM {SCHEMA}.task_steps s USING {name} t WHERE s.task_id = t.id"
        )
    if attached:
        # Plain DETACH and DROP would lock the whole table, and wait for all its readers first.
        how = "FINALIZE" if pending else "CONCURRENTLY"
        await conn.execute(f"ALTER TABLE {SCHEMA}.{table} DETACH PARTITION {name} {how}")
    await conn.execute(f"DROP TABLE {name}")
