"""The statements that write a batch's rows, in the order in which they depend on each other."""

from collections.abc import Sequence

from sinks.pool import Connection
from sinks.queries import SCHEMA, query
from sinks.rows import Batch


async def write_batch(conn: Connection, batch: Batch, *, schema: str = SCHEMA) -> None:
    """Write the rows of a batch inside the caller's transaction."""
    if batch.begun:
        await conn.execute(
            query("forget_former_lives", schema),
            [row.id for row in batch.begun],
            [row.created_at for row in batch.begun],
            [row.event_offset for row in batch.begun],
            [row.born_offset for row in batch.begun],
        )
    # Attempts first: a task's steps are made from them.
    await send(conn, "upsert_steps", batch.steps, schema)
    await send(conn, "begin_tasks", batch.begun, schema)
    await send(conn, "change_tasks", batch.changed, schema)
    await send(conn, "refuse_tasks", batch.refused, schema)
    await send(conn, "append_logs", batch.logs, schema)


async def send(
    conn: Connection, name: str, rows: Sequence[tuple[object, ...]], schema: str = SCHEMA
) -> None:
    """Send rows as one array for each column."""
    if rows:
        await conn.execute(query(name, schema), *map(list, zip(*rows, strict=True)))
