"""Month partitions, made before their first row.

There is no default partition, so a row of a month without one would be refused. The
runner of migrations and the running sink make months ahead, the writer makes what a batch
still lacks.
"""

from collections.abc import Iterable
from datetime import date

from sinks.pool import Connection
from sinks.queries import SCHEMA, query

_MONTHS_AHEAD = 2


async def ensure_months(
    conn: Connection, months: Iterable[date], *, schema: str = SCHEMA
) -> list[date]:
    """Make the partitions of months that have none; return the months that were made.

    Call it outside of a transaction: it commits by itself, and its locks (one advisory, and
    SHARE UPDATE EXCLUSIVE on the partitioned tables) are held for milliseconds and block
    neither writers nor readers. Concurrent callers wait for each other. A month that is
    made for a batch which then fails does no harm.
    """
    # Sorted: every caller takes the months in the same order.
    rows = await conn.fetch(query("ensure_months", schema), sorted(months))
    return [row["month"] for row in rows]


async def months_ahead(conn: Connection) -> list[date]:
    """The server's present month (UTC) and the next two."""
    return [row["month"] for row in await conn.fetch(query("months_ahead"), _MONTHS_AHEAD)]
