"""When a row was committed, by ``pg_xact_commit_timestamp`` of the transaction that wrote it.

Postgres takes that time when it commits, not when the transaction or the statement began; the
clock is that of this machine. It is taken just before the commit is flushed to the disk, so a
reader sees the row later by one flush. :func:`check_commit_clock` measures both.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import asyncpg

COMMITTED_AT = "extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8"
"""SQL: Unix seconds at which the row's last writer committed."""

_HELD_S = 0.2
_ROUNDS = 10


async def check_commit_clock(dsn: str) -> float:
    """Check on transactions that take their time that the clock is read at the commit.

    Returns:
        Milliseconds from the time that is recorded until the client knows of the commit,
        median: by so much a row is visible later than this clock says.

    Raises:
        SystemExit: the time is not that of the commit; no latency can be told.
    """
    connection = await asyncpg.connect(dsn)
    flushes: list[float] = []
    await connection.execute("CREATE TEMPORARY TABLE clock (number integer)")
    for _ in range(_ROUNDS):
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO clock VALUES (1)")
        await asyncio.sleep(_HELD_S)
        before = time.time()
        await connection.execute("COMMIT")
        after = time.time()
        committed = await connection.fetchval(f"SELECT max({COMMITTED_AT}) FROM clock")
        if not before <= committed <= after:
            raise SystemExit(f"void: a commit in {before}..{after} is dated {committed}")
        flushes.append((after - committed) * 1000)
    await connection.close()
    return statistics.median(flushes)
