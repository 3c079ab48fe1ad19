"""Reads behind a pooler in transaction mode: what they leave in a session, without a pooler."""

import asyncpg
import pytest

from sinks.database import Database
from sinks.errors import SinkBlockedError, SinkUnavailableError, ours
from sinks.letters.reader import read_index
from sinks.reads.paging import TaskFilter
from sinks.reads.reader import Reader
from sinks.settings import PostgresSettings


async def test_a_read_has_its_limits_and_leaves_nothing_in_its_session(database: str) -> None:
    settings = PostgresSettings(dsn=database, reader_pooler=True, pool_max_size=1)
    reads = Database(settings, planning={"plan_cache_mode": "force_custom_plan"}, reads=True)
    await reads.open()
    names = ("statement_timeout", "lock_timeout", "plan_cache_mode", "transaction_read_only")
    async with reads.connection() as conn:
        inside = [await conn.fetchval("SELECT current_setting($1)", name) for name in names]
    async with reads.connection() as conn:
        await conn.execute("COMMIT")  # outside of the transaction, in the same session
        outside = [await conn.fetchval("SELECT current_setting($1)", name) for name in names]
        prepared = await conn.fetchval("SELECT count(*) FROM pg_prepared_statements")
        await conn.execute("BEGIN")
    await reads.close()

    assert inside == ["10s", "3s", "force_custom_plan", "on"]
    assert outside == ["0", "0", "auto", "off"]
    assert prepared == 0


async def test_a_read_that_fails_leaves_no_transaction_open(database: str) -> None:
    settings = PostgresSettings(
        dsn=database, reader_pooler=True, pool_max_size=1, statement_timeout_ms=50
    )
    reader = Reader(settings)
    await reader.open()
    with pytest.raises(SinkUnavailableError, match="57014"):
        await reader.fetch_sql("SELECT pg_sleep(5)")
    assert await reader.count_by_status() == {}
    await reader.close()


async def test_reads_go_to_their_own_address_and_writes_do_not(
    database: str, empty_database: str
) -> None:
    settings = PostgresSettings(dsn=empty_database, reader_dsn=database)
    reader = Reader(settings)
    await reader.open()  # the other database has no schema
    await reader.list_tasks(TaskFilter(), limit=1)
    await reader.close()
    await read_index(settings)

    writes = Database(settings)
    await writes.open(migrated=False)
    async with writes.connection() as conn:
        written_to = await conn.fetchval("SELECT current_database()")
    await writes.close()
    assert empty_database.endswith(f"/{written_to}")


def test_an_address_for_reads_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="reader_dsn is set without dsn"):
        PostgresSettings(reader_dsn="postgresql://h/d")


def test_a_pooler_that_refuses_our_settings_is_named() -> None:
    error = asyncpg.PostgresError.new(
        {"S": "FATAL", "C": "08P01", "M": "unsupported startup parameter: lock_timeout"}
    )
    found = ours(error)

    assert isinstance(found, SinkBlockedError)
    assert "ORCH_POSTGRES_READER_POOLER" in str(found)
