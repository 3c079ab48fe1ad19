"""Reads the facts of a Postgres server that :mod:`sinks.server.rules` compares."""

import asyncpg

from schemas.findings import Finding
from sinks.errors import MigrationError
from sinks.pool import Connection, close_pool, connection, open_pool
from sinks.queries import query
from sinks.schema.migrate import newer_migrations, pending_migrations
from sinks.server.rules import ServerFacts, server_findings
from sinks.settings import PostgresSettings


async def check_server(settings: PostgresSettings) -> list[Finding]:
    """The differences on the server of these settings.

    Raises:
        SinkUnavailableError: the server did not answer, or refuses the account.
    """
    pool = await open_pool(settings)
    try:
        async with connection(pool, settings) as conn:
            return await check_connection(conn, settings)
    finally:
        await close_pool(pool, settings.connect_timeout_s)


async def server_version(settings: PostgresSettings) -> str:
    """The version of the server, as the server names it.

    Raises:
        SinkUnavailableError: the server did not answer, or refuses the account.
    """
    pool = await open_pool(settings)
    try:
        async with connection(pool, settings) as conn:
            # Packagers append text of their own to the number.
            return str(await conn.fetchval("SHOW server_version")).split(" ")[0]
    finally:
        await close_pool(pool, settings.connect_timeout_s)


async def check_connection(conn: Connection, settings: PostgresSettings) -> list[Finding]:
    """As :func:`check_server`, over an open connection."""
    return server_findings(await _facts(conn), pool_max_size=settings.pool_max_size)


async def _facts(conn: Connection) -> ServerFacts:
    server = await conn.fetchrow(query("describe_server"))
    assert server is not None
    rights = await conn.fetch(query("read_rights"))
    settings = await conn.fetch(query("read_server_settings"))
    newer: list[str] = []
    try:
        newer = await newer_migrations(conn)
        pending, changed = await pending_migrations(conn), False
    except MigrationError:
        pending, changed = [], True
    except asyncpg.InsufficientPrivilegeError:
        # The list of rights says so, with all the others that are missing.
        pending, changed = [], False
    return ServerFacts(
        version=server["version"] // 10_000,
        encoding=server["encoding"],
        max_connections=server["max_connections"],
        settings={row["name"]: row["setting"] for row in settings},
        pending=pending,
        changed=changed,
        newer=newer,
        rights={row["wanted"]: row["granted"] for row in rights},
    )
