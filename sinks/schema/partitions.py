"""Creates month partitions before their first row.

A default partition does not exist, so a row of a month without a partition would be refused. The
migration runner and the running sink create partitions for coming months, the writer creates
those that a batch still lacks.
"""

from collections.abc import Iterable
from datetime import date

from sinks.pool import Connection
from sinks.queries import SCHEMA, query

_MONTHS_AHEAD = 2


async def ensure_months(
    conn: Connection, months: Iterable[date], *, schema: str = SCHEMA
) -> list[date]:
    """Create the missing partitions of these months; return the months that were created.

    Call it outside of a transaction: it commits by itself, and its locks (one advisory, and
    SHARE UPDATE EXCLUSIVE on the partitioned tables) are held for milliseconds and block
    neither writers nor readers. Concurrent callers wait for each other. A partition that is
    created for a batch which then fails does no harm.
    """
    # Sorted: every caller takes the months in the same order.
    rows = await conn.fetch(query("ensure_months", schema), sorted(months))
    return [row["month"] for row in rows]


async def months_ahead(conn: Connection) -> list[date]:
    """The server's current month (UTC) and the next two."""
    return [row["month"] for row in await conn.fetch(query("months_ahead"), _MONTHS_AHEAD)]
