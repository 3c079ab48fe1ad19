"""The connections of one writer or reader: opened, checked, lent out and closed the same way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType

from schemas.findings import Finding
from sinks.pool import (
    Connection,
    Pool,
    close_pool,
    connection,
    open_pool,
    read_transaction,
    session_settings,
)
from sinks.schema.migrate import check_migrated
from sinks.server.check import check_connection
from sinks.settings import PostgresSettings


class Database:
    """A pool of connections to the projection's database.

    Args:
        settings: the database and the timeouts.
        planning: how Postgres plans the statements of this pool (:mod:`sinks.pool`).
        functions: a statement that makes functions in each session of this pool.
        reads: only reads are made: through ``reader_dsn`` and its pooler, if they are set.
    """

    def __init__(
        self,
        settings: PostgresSettings,
        *,
        planning: Mapping[str, str] = MappingProxyType({}),
        functions: str = "",
        reads: bool = False,
    ) -> None:
        self._pooled = reads and settings.reader_pooler
        if reads and settings.reader_dsn:
            settings = replace(settings, dsn=settings.reader_dsn)
        self.settings = settings
        self._planning = planning
        self._functions = functions
        self._pool: Pool | None = None

    async def open(self, *, migrated: bool = True) -> None:
        """Connect; with ``migrated`` check that the schema exists. Closed again if it raises.

        Raises:
            SinkUnavailableError: try again later; SchemaMissingError: no migration was applied.
            MigrationError: a migration that this program needs was not applied.
        """
        self._pool = await open_pool(
            self.settings,
            planning=self._planning,
            functions=self._functions,
            pooled=self._pooled,
        )
        try:
            if migrated:
                async with self.connection() as conn:
                    await check_migrated(conn)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connections; running operations end within ``operation_timeout_s``."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await close_pool(pool, self.settings.operation_timeout_s)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Borrow a connection for at most ``operation_timeout_s``.

        Raises:
            SinkError: the driver's error, converted by :func:`sinks.errors.ours`.
            RuntimeError: the database is not open; a bug of the caller.
        """
        if self._pool is None:
            raise RuntimeError("the database is not open")
        async with connection(self._pool, self.settings) as conn:
            if not self._pooled:
                yield conn
                return
            limits = {**session_settings(self.settings), **self._planning}
            async with read_transaction(conn, limits):
                yield conn

    async def check_server(self) -> list[Finding]:
        """Compare the server, the database and our account with what the projection needs.

        Raises:
            SinkUnavailableError: the server did not answer.
        """
        async with self.connection() as conn:
            return await check_connection(conn, self.settings)
