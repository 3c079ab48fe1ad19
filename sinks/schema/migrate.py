"""Brings the schema up to date, and reports whether it is.

Several processes may do so at once: a lock of the session makes them wait for each other, and
the later ones have nothing left to do.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import structlog

from sinks.dsn import check_files, wrong_dsn
from sinks.errors import MigrationError, SchemaMissingError, SinkBlockedError, ours
from sinks.pool import Connection
from sinks.queries import query
from sinks.schema.migration import Migration, load_migrations, of_phase, pending
from sinks.schema.partitions import ensure_months, months_ahead

_log = structlog.get_logger()

_NAME_MAX_BYTES = 63
"""Postgres cuts a longer name, and says so in a notice only."""
_CONNECT_TIMEOUT_S = 10.0
_LOCK_TIMEOUT_MS = 5_000
"""For locks on tables: while a migration waits for one, all later statements wait behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """One migration: a file, or a name that only the database knows (of a newer program)."""

    name: str
    applied_at: datetime | None
    """None: not applied."""
    changed: bool
    """The file differs from the one that was applied."""
    known: bool
    """This program has the file."""

    @property
    def state(self) -> str:
        """``pending``, ``applied``, ``changed`` (applied with another content: no further one is
        applied), or ``newer`` (applied by a newer program)."""
        if self.applied_at is None:
            return "pending"
        if not self.known:
            return "newer"
        return "changed" if self.changed else "applied"


async def migrate_up(
    dsn: str,
    migrations: Sequence[Migration] | None = None,
    *,
    before_deployment: bool = False,
    timeout_s: float = 120.0,
) -> list[str]:
    """Apply the pending files, each in one transaction, and create partitions for coming months.

    Args:
        dsn: libpq URI; a direct connection as the role that will own the tables.
        migrations: used instead of this program's files.
        before_deployment: leave the files that the version before cannot run with.
        timeout_s: limit of the whole call, including the wait for another run.

    Returns:
        The names of the files that were applied, in order.

    Raises:
        SinkUnavailableError: run it again later; complete files stay applied.
        MigrationError: an applied file has changed, or a file does not run. The message
            names it; files before it stay applied.
    """
    known = load_migrations() if migrations is None else migrations
    files = of_phase(known, before_deployment=before_deployment)
    applied: list[str] = []
    async with _session(dsn, timeout_s) as conn:
        async with _migrations_lock(conn, timeout_s):
            await conn.execute(query("create_migrations_table"))
            for migration in pending(files, await _applied(conn)):
                await _apply(conn, migration)
                _log.info("migration_applied", name=migration.name)
                applied.append(migration.name)
        if migrations is None:
            await ensure_months(conn, await months_ahead(conn))
    return applied


async def migrate_status(dsn: str, *, timeout_s: float = 30.0) -> list[MigrationStatus]:
    """Every migration that this program or the database knows, by name. Changes nothing.

    Raises:
        SinkUnavailableError: try again later.
    """
    async with _session(dsn, timeout_s) as conn:
        rows = await _rows(conn)
    files = {migration.name: migration for migration in load_migrations()}
    done = {row["name"]: row for row in rows}
    return [
        MigrationStatus(
            name=name,
            applied_at=done[name]["applied_at"] if name in done else None,
            changed=name in done
            and name in files
            and done[name]["checksum"] != files[name].checksum,
            known=name in files,
        )
        for name in sorted(files.keys() | done.keys())
    ]


async def check_migrated(conn: Connection) -> None:
    """Check that all of this program's migrations but ``post`` ones are applied.

    Raises:
        SchemaMissingError: none was ever applied: the database is new, or a restore fills it.
        MigrationError: a migration is not applied, or has changed; the message names it.
    """
    applied = await _applied(conn)
    if not applied:
        raise SchemaMissingError(
            "the database has no schema of ours: run `orchestrator migrate up`, or wait for the"
            " restore that runs"
        )
    waiting = pending(load_migrations(), applied)
    missing = [migration.name for migration in waiting if not migration.after_deployment]
    if missing:
        raise MigrationError(f"{missing[0]} is not applied: run the migrations first")


async def pending_migrations(conn: Connection) -> list[str]:
    """The names of this program's migrations that are not applied, in order.

    Raises:
        MigrationError: an applied one has changed; the message names it.
    """
    return [migration.name for migration in pending(load_migrations(), await _applied(conn))]


async def newer_migrations(conn: Connection) -> list[str]:
    """The names of applied migrations that only a newer program has, in order."""
    return sorted((await _applied(conn)).keys() - {one.name for one in load_migrations()})


async def grant_analysts(dsn: str, role: str, *, timeout_s: float = 30.0) -> None:
    """Let a role read the tasks, their attempts, the trail and the positions, and nothing else.

    A role that does not exist is created without a login: give it to the accounts of people.
    Running it again changes nothing.

    Args:
        dsn: as the owner of the tables; to create a role it needs that right.
        role: its name.

    Raises:
        SinkUnavailableError: try again later.
        MigrationError: the tables are missing, the account may not do it, or Postgres would not
            keep the name as it is.
    """
    size = len(role.encode(errors="replace"))
    if role != role.strip() or not role.isprintable() or not 0 < size <= _NAME_MAX_BYTES:
        raise MigrationError(
            f"role {role!r}: a name has 1 to {_NAME_MAX_BYTES} bytes ({size} here), which can be "
            "printed, and no space at its ends"
        )
    async with _session(dsn, timeout_s) as conn:
        try:
            async with conn.transaction():
                for row in await conn.fetch(query("analyst_statements"), role):
                    await conn.execute(row["statement"])
        except asyncpg.PostgresError as error:
            raise MigrationError(f"role {role}: {error.sqlstate} {error}") from error


@asynccontextmanager
async def _session(dsn: str, timeout_s: float) -> AsyncIterator[Connection]:
    conn: asyncpg.Connection[asyncpg.Record] | None = None
    check_files(dsn)
    try:
        async with asyncio.timeout(timeout_s):
            conn = await asyncpg.connect(
                dsn,
                timeout=_CONNECT_TIMEOUT_S,
                server_settings={"application_name": "ai-orchestrator-migrate", "timezone": "UTC"},
            )
            yield conn
    except Exception as error:
        if conn is None and isinstance(error, ValueError):
            raise wrong_dsn(error) from None
        lost = conn is not None and conn.is_closed()
        if (translated := ours(error, connection_lost=lost)) is not None:
            raise translated from error
        raise
    finally:
        # Cut, not closed: a running statement has to be rolled back. Its locks go with it.
        if conn is not None:
            conn.terminate()


@asynccontextmanager
async def _migrations_lock(conn: Connection, timeout_s: float) -> AsyncIterator[None]:
    # set_config, because SET takes no parameters.
    await conn.execute(query("set_lock_timeout"), f"{int(timeout_s * 1000)}ms")
    await conn.execute(query("lock_migrations"))
    await conn.execute(query("set_lock_timeout"), f"{_LOCK_TIMEOUT_MS}ms")
    yield
    await conn.execute(query("unlock_migrations"))


async def _applied(conn: Connection) -> dict[str, str]:
    return {row["name"]: row["checksum"] for row in await _rows(conn)}


async def _rows(conn: Connection) -> list[asyncpg.Record]:
    if not await conn.fetchval(query("migrations_table_exists")):
        return []
    return await conn.fetch(query("read_migrations"))


async def _apply(conn: Connection, migration: Migration) -> None:
    try:
        async with conn.transaction():
            await conn.execute(migration.up)
            await conn.execute(query("record_migration"), migration.name, migration.checksum)
    except asyncpg.PostgresError as error:
        translated = ours(error)
        waits = translated is not None and translated.retriable
        if translated is not None and waits and not isinstance(translated, SinkBlockedError):
            raise translated from error
        raise MigrationError(f"{migration.name}: {error.sqlstate} {error}") from error
