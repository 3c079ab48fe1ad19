"""Copies of a database, and its replacement by such a copy, while programs are connected."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg


async def copied(dsn: str, name: str) -> None:
    """Make a copy: a backup that needs no tool. Programs cannot connect meanwhile."""
    database = urlsplit(dsn).path[1:]
    async with _closed(dsn, database) as server:
        await server.execute(f"CREATE DATABASE {name} TEMPLATE {database}")


async def restored(dsn: str, name: str) -> None:
    """Put a copy in the place of the database, which is dropped."""
    database = urlsplit(dsn).path[1:]
    async with _closed(dsn, database) as server:
        await server.execute(f"DROP DATABASE {database}")
        await server.execute(f"ALTER DATABASE {name} RENAME TO {database}")


@asynccontextmanager
async def _closed(dsn: str, database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to the server, while nobody is or gets connected to the database."""
    server = await asyncpg.connect(dsn.rsplit("/", 1)[0] + "/postgres")
    try:
        await server.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        await server.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1",
            database,
        )
        yield server
        await server.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
    finally:
        await server.close()
