"""How Postgres finds the rows that a batch changes."""

import asyncio

import asyncpg

from schemas.records import ResultKind
from sinks.settings import PostgresSettings
from sinks.writer import Writer
from tests.sinks.building import ALog, write_on

TASKS = [f"task_{n}" for n in range(300)]


async def test_a_batch_reads_no_table_from_end_to_end(database: str) -> None:
    log = ALog()
    for task_id in TASKS:
        log.create(task_id)
    await in_a_session(database, log)
    before = await scans(database)
    log.events.clear()
    for task_id in TASKS[:100]:
        log.report(ResultKind.SUCCEEDED, task_id)

    await in_a_session(database, log)

    assert await scans(database) == before


async def in_a_session(database: str, log: ALog) -> None:
    """Write what the log holds, and let the server count what the session did."""
    writer = Writer(PostgresSettings(dsn=database))
    await writer.open()
    await write_on(writer, log.events)
    await writer.close()
    # A session counts to the last when it ends.
    conn = await asyncpg.connect(database)
    gone = "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()"
    async with asyncio.timeout(30):
        while not await conn.fetchval(gone):  # noqa: ASYNC110  # the server knows
            await asyncio.sleep(0.02)
    await conn.close()


async def scans(database: str) -> dict[str, int]:
    """How often each of our tables was scanned."""
    conn = await asyncpg.connect(database)
    rows = await conn.fetch(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname LIKE 'task%'"
    )
    await conn.close()
    return {row["relname"]: row["seq_scan"] for row in rows}
