"""Read the index of dead letters. The topics are the truth; this is quicker."""

from typing import Any

import asyncpg

from schemas.buried import DeadLetter
from sinks.dead_letter_rows import stored_entry
from sinks.pool import connection, open_pool
from sinks.queries import query
from sinks.settings import PostgresSettings
from tasks.letters.bench import Bench
from tasks.letters.ledger import Ledger


async def read_index(settings: PostgresSettings) -> Bench:
    """All indexed letters, without their keys, values and headers.

    Raises:
        SinkUnavailableError: read the topics instead.
    """
    pool = await open_pool(settings)
    try:
        async with connection(pool, settings) as conn:
            rows = await conn.fetch(query("read_letters"))
    finally:
        pool.terminate()
    ledger = Ledger()
    ledger.entries = {row["id"]: stored_entry(row) for row in rows}
    return Bench([_letter(row) for row in rows], ledger)


def _letter(row: asyncpg.Record) -> DeadLetter:
    given: dict[str, Any] = {name: row[name] for name in _AS_THEY_ARE}
    return DeadLetter(
        **given,
        partition=row["origin_partition"],
        offset=row["origin_offset"],
        group=row["consumer_group"],
        replays=row["carried_replays"],
        stacktrace="",
        key=None,
        value=None,
        headers=(),
    )


_AS_THEY_ARE = (
    *("id", "topic", "original_at", "dlq_partition", "dlq_offset", "dead_lettered_at", "stage"),
    *("failure_class", "code", "message", "exception", "delivery_count", "task_id", "tenant_id"),
    *("task_type", "step", "service", "run", "traceparent", "replay_of"),
)
