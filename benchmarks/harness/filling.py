"""Finished tasks by the million, as copies of one that really ran.

Each copy has the task's row, those of its attempts and of its audit trail; ids are spread like
those of real tasks, tenants are a hundred, and the times go back thirty days, oldest first.
"""

from __future__ import annotations

import hashlib
import uuid

import asyncpg

TENANTS = 100
_CHUNK = 100_000
_DAYS = 30
_SCHEMA = "ai_orchestrator"
_TABLES = {"tasks": "id", "task_steps": "task_id", "task_execution_logs": "task_id"}
"""Each table with its column that holds the task's id."""

_COPY_ID = "('task_' || md5(n::text)::uuid)"


def copy_id(number: int) -> str:
    """The id of a copy; the first is 1."""
    # The same digest as in SQL: md5 of the number's text, written as a UUID.
    return f"task_{uuid.UUID(bytes=_md5(str(number)))}"


def _md5(text: str) -> bytes:
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()


async def fill(dsn: str, rows: int) -> None:
    """Put ``rows`` copies of the only task of this database in its place.

    The sink's positions go, too: the next engine on this database begins with a new log.
    """
    connection = await asyncpg.connect(dsn)
    # Fewer checkpoints write fewer pages whole; afterwards all is as it was.
    await connection.execute("ALTER SYSTEM SET max_wal_size = '16GB'")
    await connection.execute("ALTER SYSTEM SET checkpoint_timeout = '1h'")
    await connection.execute("SELECT pg_reload_conf()")
    task_id = await connection.fetchval(f"SELECT id FROM {_SCHEMA}.tasks")
    await connection.execute(
        f"SELECT {_SCHEMA}.ensure_month((now() - day * interval '1 day')::date)"
        f" FROM generate_series(0, {_DAYS + 1}) AS day"
    )
    for table, key in _TABLES.items():
        copy = await _copy_statement(connection, table, key, rows)
        for first in range(1, rows + 1, _CHUNK):
            await connection.execute(copy, task_id, first, min(first + _CHUNK - 1, rows))
        await connection.execute(f"DELETE FROM {_SCHEMA}.{table} WHERE {key} = $1", task_id)
    await connection.execute(f"DELETE FROM {_SCHEMA}.sink_offsets")
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("ALTER SYSTEM RESET max_wal_size")
    await connection.execute("ALTER SYSTEM RESET checkpoint_timeout")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.execute("CHECKPOINT")
    await connection.close()


async def _copy_statement(connection: asyncpg.Connection, table: str, key: str, rows: int) -> str:
    """SQL that copies a table's rows of task $1 as the copies $2 to $3."""
    columns = await connection.fetch(
        "SELECT column_name AS name, data_type AS kind FROM information_schema.columns"
        " WHERE table_schema = $1 AND table_name = $2"
        " AND is_generated = 'NEVER' AND is_identity = 'NO' ORDER BY ordinal_position",
        _SCHEMA,
        table,
    )
    values = {row["name"]: _value(row["name"], row["kind"], key, rows) for row in columns}
    return (
        f"INSERT INTO {_SCHEMA}.{table} ({', '.join(values)})"
        f" SELECT {', '.join(values.values())}"
        f" FROM {_SCHEMA}.{table} AS o, generate_series($2::integer, $3::integer) AS n"
        f" WHERE o.{key} = $1"
    )


def _value(name: str, kind: str, key: str, rows: int) -> str:
    """What a copy has in a column, as SQL of the original ``o`` and the number ``n``."""
    if name == key:
        return _COPY_ID
    if name == "tenant_id":
        return f"'tenant_' || n % {TENANTS}"
    if name == "command_id":
        return f"replace(o.command_id, o.{key}, {_COPY_ID})"
    if name == "event_offset":
        return "o.event_offset + n * 16"
    if kind.startswith("timestamp"):
        # An hour ago at the latest, so that new tasks are newer.
        return f"o.{name} - interval '1 hour' - ({rows} - n) * (interval '{_DAYS} days' / {rows})"
    return f"o.{name}"
