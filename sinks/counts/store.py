"""Counts: made of events and of the rows before them, and read."""

from collections.abc import Iterable, Sequence

from schemas.records import TaskId
from sinks.counts import measures
from sinks.counts.naming import Naming, TenantUsage
from sinks.counts.row import CountRow
from sinks.counts.tally import TaskHead, heads_needed, tally
from sinks.pool import Connection
from sinks.queries import SCHEMA, query
from sinks.rows import LogEvent

_NOT_EXPORTED = [measures.TENANT_TOKENS.name, measures.TENANT_COST.name]


async def counts_of(
    conn: Connection, events: Sequence[LogEvent], naming: Naming, *, schema: str = SCHEMA
) -> list[CountRow]:
    """What events add to the counts; call it before their rows are written.

    The caller has not counted them before.
    """
    needed = heads_needed(events)
    heads = await _read_heads(conn, needed, schema) if needed else {}
    return tally(events, heads, naming)


async def read(conn: Connection, partitions: Iterable[int]) -> list[CountRow]:
    """The exported counts of these partitions."""
    rows = await conn.fetch(query("read_counts"), sorted(partitions), _NOT_EXPORTED)
    return [CountRow(*row) for row in rows]


async def read_names(conn: Connection, naming: Naming, *, schema: str = SCHEMA) -> None:
    """Take over the names that all writers count by."""
    ranking = (measures.TENANT_COST.name, measures.TENANT_TOKENS.name)
    usages = await conn.fetch(query("read_tenant_usage", schema), *ranking)
    models = await conn.fetch(query("read_counted_models", schema), measures.TOKENS.name)
    naming.rank(
        [TenantUsage(row["tenant_id"], *map(int, row[1:])) for row in usages],
        [row["model"] for row in models],
    )


async def _read_heads(
    conn: Connection, task_ids: Iterable[TaskId], schema: str
) -> dict[TaskId, TaskHead]:
    rows = await conn.fetch(query("read_task_heads", schema), list(task_ids))
    return {row["id"]: TaskHead(*row[1:]) for row in rows}
