"""What a connection is like when the next one borrows it."""

import pytest

from sinks.errors import PostgresRefusedError
from sinks.pool import close_pool, connection, open_pool
from sinks.schema.migrate import migrate_status
from sinks.settings import PostgresSettings
from sinks.table_set import long_session

NOTED = "SELECT count(*) FROM ai_orchestrator.sink_offsets"


async def test_a_transaction_that_was_left_open_is_gone_with_the_next_borrower(
    database: str,
) -> None:
    settings = PostgresSettings(dsn=database, pool_max_size=1)
    pool = await open_pool(settings)
    async with connection(pool, settings) as conn:
        first = await conn.fetchval("SELECT pg_backend_pid()")
        await conn.execute("BEGIN")
        await conn.execute("INSERT INTO ai_orchestrator.sink_offsets VALUES (0, 1, 1, '')")
        assert await conn.fetchval(NOTED) == 1

    async with connection(pool, settings) as conn:
        second = await conn.fetchval("SELECT pg_backend_pid()")
        noted = await conn.fetchval(NOTED)
        open_still = conn.is_in_transaction()
    await close_pool(pool, 5.0)

    assert (second, noted, open_still) == (first, 0, False)


@pytest.mark.parametrize("dsn", ["postgresql://u:PW@127.0.0.1:zzz/x", "postgresql://[::1/x", "PW"])
async def test_a_dsn_that_cannot_be_read_is_refused_without_its_password(dsn: str) -> None:
    settings = PostgresSettings(dsn=dsn)
    with pytest.raises(PostgresRefusedError) as of_a_pool:
        await open_pool(settings)
    with pytest.raises(PostgresRefusedError) as of_a_migration:
        await migrate_status(dsn)
    with pytest.raises(PostgresRefusedError) as of_a_rebuild:
        async with long_session(settings, "test"):
            pass

    said = f"{of_a_pool.value}{of_a_migration.value}{of_a_rebuild.value}"
    assert "not a libpq URI" in said
    assert "PW" not in said
