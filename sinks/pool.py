"""Connections to Postgres with the same settings; converts the driver's errors to ours."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from sinks.dsn import check_files, wrong_dsn
from sinks.errors import SinkError, SinkUnavailableError, ours
from sinks.metrics import observe
from sinks.settings import PostgresSettings

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_COMMAND_MARGIN_S = 2.0
"""The server's own timeout fires first; ours is for a server that does not answer."""


PLAN_FOR_VALUES: Mapping[str, str] = MappingProxyType({"plan_cache_mode": "force_custom_plan"})
"""Plan each statement anew for its values. Costs a millisecond, and finds the index that a
filter needs, even after a statement was sent many times: for pages of lists."""

FIND_BY_KEY: Mapping[str, str] = MappingProxyType(
    {
        "enable_seqscan": "off",
        "enable_mergejoin": "off",
        "enable_hashjoin": "off",
        "plan_cache_mode": "force_generic_plan",
    }
)
"""Look rows up by key, one after the other, and plan once: for statements that name their rows.
Without this, Postgres would read the whole of a table that grew since it was analyzed, or of an
index, for each batch: it takes rows of a JSON text to be a hundred, of which it knows nothing.
The best plan is the same for every batch, and planning takes longer than a small batch."""


async def open_pool(
    settings: PostgresSettings,
    *,
    planning: Mapping[str, str] = MappingProxyType({}),
    functions: str = "",
    pooled: bool = False,
) -> Pool:
    """Open a pool and its first connection.

    Args:
        settings: the database and the timeouts.
        planning: how Postgres plans the statements of this pool.
        functions: a statement that makes functions in each new session; empty for none.
        pooled: a pooler in transaction mode is between: no statement is kept prepared, and
            settings are those of each transaction (:func:`read_transaction`).

    Raises:
        PostgresTlsError: a certificate or a file of the DSN is wrong.
        SinkUnavailableError: no connection; try again later.
        asyncpg.PostgresError: wrong password, unknown database: a fault of the set-up.
    """
    check_files(settings.dsn)
    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            return await asyncpg.create_pool(
                settings.dsn,
                min_size=1,
                max_size=settings.pool_max_size,
                timeout=settings.connect_timeout_s,
                command_timeout=settings.statement_timeout_ms / 1000 + _COMMAND_MARGIN_S,
                server_settings=_OF_CLIENT if pooled else {**server_settings(settings), **planning},
                statement_cache_size=0 if pooled else _STATEMENTS_KEPT,
                init=partial(_begin_session, functions=functions),
                reset=_keep_session,
            )
    except ValueError as error:
        raise wrong_dsn(error) from None
    except Exception as error:
        if (translated := ours(error)) is not None:
            raise translated from error
        raise


async def _begin_session(conn: Connection, *, functions: str) -> None:
    if functions:
        await conn.execute(functions)
    conn.add_query_logger(observe)


async def _keep_session(conn: Connection) -> None:
    """Do nothing: no statement here changes its session, and the driver ends transactions itself.

    By default each use of a connection would cost another round trip, for RESET ALL and the like.
    """


async def close_pool(pool: Pool, timeout_s: float) -> None:
    """Close the connections, those in use after ``timeout_s`` by force."""
    try:
        async with asyncio.timeout(timeout_s):
            await pool.close()
    except TimeoutError:
        pool.terminate()


@asynccontextmanager
async def connection(pool: Pool, settings: PostgresSettings) -> AsyncIterator[Connection]:
    """Borrow a connection for at most ``operation_timeout_s``; the driver's errors become ours.

    After any error but a clear refusal the connection is cut: the server then rolls back its
    transaction, and returning the connection does not wait for the server.
    """
    conn: PoolConnectionProxy[asyncpg.Record] | None = None
    try:
        async with asyncio.timeout(settings.operation_timeout_s):
            conn = await pool.acquire(timeout=settings.connect_timeout_s)
            yield conn
    except BaseException as error:
        lost = conn is not None and is_lost(conn)
        translated = ours(error, connection_lost=lost)
        known = translated or error
        refused = isinstance(known, SinkError) and not isinstance(known, SinkUnavailableError)
        if conn is not None and not lost and not refused:
            conn.terminate()
        if translated is not None:
            raise translated from error
        raise
    finally:
        if conn is not None:
            await pool.release(conn)


def is_lost(conn: Connection) -> bool:
    """True if a connection cannot be used any more."""
    try:
        return conn.is_closed()
    except asyncpg.InterfaceError:
        # The pool took it back when the server went away; the connection no longer answers.
        return True


@asynccontextmanager
async def read_transaction(conn: Connection, settings: Mapping[str, str]) -> AsyncIterator[None]:
    """One transaction that only reads, with settings of its own, for a pooler in transaction mode.

    The pooler gives every transaction another session, so that nothing may be left in it.
    """
    given = "".join(f"; SET LOCAL {name} = '{value}'" for name, value in settings.items())
    await conn.execute(f"BEGIN READ ONLY{given}")
    yield
    await conn.execute("COMMIT")


def server_settings(settings: PostgresSettings) -> dict[str, str]:
    """The settings of every session of ours."""
    return {**_OF_CLIENT, **session_settings(settings)}


def session_settings(settings: PostgresSettings) -> dict[str, str]:
    """The limits of every session of ours; a pooler refuses them when a session begins."""
    return {
        "statement_timeout": str(settings.statement_timeout_ms),
        "lock_timeout": str(settings.lock_timeout_ms),
        "idle_in_transaction_session_timeout": str(int(settings.operation_timeout_s * 1000)),
    }


_OF_CLIENT = {
    "application_name": "ai-orchestrator",
    "timezone": "UTC",  # times inside JSON documents are written by the server
}
_STATEMENTS_KEPT = 100
"""The driver's default."""
