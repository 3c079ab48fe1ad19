"""Databases for the tests of the sink: each test has one of its own, with the schema."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from sinks.reads.reader import Reader
from sinks.schema.migrate import migrate_up
from sinks.settings import PostgresSettings
from sinks.writer import Writer

_TEMPLATE = "sink_template"
_numbers = count()


@pytest.fixture(scope="session")
def migrated_template(postgres_dsn: str) -> str:
    """The name of a database with all migrations, to be copied: a copy takes 30 ms."""
    asyncio.run(_execute(postgres_dsn, f"CREATE DATABASE {_TEMPLATE}"))
    asyncio.run(migrate_up(named(postgres_dsn, _TEMPLATE)))
    return _TEMPLATE


@pytest.fixture
async def empty_database(postgres_dsn: str) -> AsyncIterator[str]:
    """The DSN of a new database without any schema."""
    name = f"sink_empty_{next(_numbers)}"
    await _execute(postgres_dsn, f"CREATE DATABASE {name}")
    yield named(postgres_dsn, name)
    await _execute(postgres_dsn, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(postgres_dsn: str, migrated_template: str) -> AsyncIterator[str]:
    """The DSN of a new database with the schema and no rows."""
    name = f"sink_test_{next(_numbers)}"
    await _execute(postgres_dsn, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    yield named(postgres_dsn, name)
    await _execute(postgres_dsn, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def writer(database: str) -> AsyncIterator[Writer]:
    """An open writer of the test's database."""
    opened = Writer(PostgresSettings(dsn=database))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def reader(database: str) -> AsyncIterator[Reader]:
    """An open reader of the test's database."""
    opened = Reader(PostgresSettings(dsn=database))
    await opened.open()
    yield opened
    await opened.close()


def named(dsn: str, database: str) -> str:
    """The DSN of another database of the same server."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


async def _execute(dsn: str, statement: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(statement)
    finally:
        await conn.close()
