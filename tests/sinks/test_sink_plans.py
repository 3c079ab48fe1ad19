"""How Postgres finds the rows that a batch changes."""

import asyncio
from collections.abc import Iterable

import asyncpg

from schemas.records import ResultKind
from sinks.settings import PostgresSettings
from sinks.writer import Writer
from tests.sinks.building import ALog, write_all

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


async def test_a_plan_that_was_made_for_empty_tables_reads_what_a_batch_names_and_no_more(
    database: str,
) -> None:
    log = ALog()
    for task_id in TASKS:
        log.create(task_id)
    for task_id in TASKS:
        log.report(ResultKind.STARTED, task_id)

    # The session keeps the plans that it makes for its first batches.
    await in_a_session(database, log, batches=range(0, len(log.events), 20))

    assert 0 < await entries_read(database) < 10 * len(log.events)


async def in_a_session(database: str, log: ALog, batches: Iterable[int] = ()) -> None:
    """Write what the log holds, and let the server count what the session did."""
    writer = Writer(PostgresSettings(dsn=database))
    await writer.open()
    await write_all(writer, log.events, batches)
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


async def entries_read(database: str) -> int:
    """How many index entries of our tables were read."""
    conn = await asyncpg.connect(database)
    read = await conn.fetchval(
        "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname LIKE 'task%'"
    )
    await conn.close()
    return int(read)
