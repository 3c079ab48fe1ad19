"""Compares a Postgres server, its database and our account with what the projection needs. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from schemas.findings import Finding, Severity

VERSION_MIN, VERSION_MAX = 15, 18
"""Major versions with which this system is tested."""
_PROCESSES = 3
"""A sink, a dead-letter index and one replica of the service: the smallest system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server reports about itself, the database and our account."""

    version: int
    """The major version."""
    encoding: str
    max_connections: int
    """Without the connections that are reserved for administrators."""
    settings: Mapping[str, str]
    """The relevant settings of our session."""
    pending: Sequence[str]
    """Migrations of this program that are not applied."""
    changed: bool
    """An applied migration differs from its file."""
    newer: Sequence[str] = ()
    """Applied migrations that only a newer program has."""
    rights: Mapping[str, bool]
    """By a text such as ``INSERT on tasks``: whether our account has it. Empty: no schema yet."""


def server_findings(facts: ServerFacts, *, pool_max_size: int) -> list[Finding]:
    """Every difference; empty if everything is as required.

    Args:
        facts: the facts of the server.
        pool_max_size: connections of each process (``ORCH_POSTGRES_POOL_MAX_SIZE``).
    """
    return [
        *_version(facts),
        *_encoding(facts),
        *_migrations(facts),
        *_rights(facts),
        *_connections(facts, pool_max_size),
        *_settings(facts),
    ]


def _version(facts: ServerFacts) -> Iterator[Finding]:
    if VERSION_MIN <= facts.version <= VERSION_MAX:
        return
    older = facts.version < VERSION_MIN
    yield Finding(
        severity=Severity.FATAL if older else Severity.WARNING,
        about="postgres",
        what=f"version {facts.version}; {VERSION_MIN} to {VERSION_MAX} are tested",
        breaks="statements that this version does not know" if older else "perhaps nothing",
        fix=f"use Postgres {VERSION_MAX}",
    )


def _encoding(facts: ServerFacts) -> Iterator[Finding]:
    if facts.encoding != "UTF8":
        yield Finding(
            severity=Severity.FATAL,
            about="postgres",
            what=f"the encoding of the database is {facts.encoding}, must be UTF8",
            breaks="tasks whose text it cannot hold are refused",
            fix="CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0, and another "
            "ORCH_POSTGRES_DSN; the projection is written again from the log",
        )


def _migrations(facts: ServerFacts) -> Iterator[Finding]:
    if facts.changed:
        yield Finding(
            severity=Severity.FATAL,
            about="postgres",
            what="an applied migration differs from its file",
            breaks="the schema is not the one of this program",
            fix="install the program that made the schema, or `orchestrator migrate status`",
        )
    if facts.newer:
        after = [name for name in facts.newer if "_post_" in name]
        yield Finding(
            severity=Severity.WARNING if after else Severity.INFO,
            about="postgres",
            what=f"{len(facts.newer)} migrations of a newer program are applied, "
            f"last {facts.newer[-1]}",
            breaks="what the newer program removed is missing here"
            if after
            else "nothing: the version before a `pre` migration can run with it",
            fix="install the program that applied them",
        )
    # A migration that runs after the deployment does not stop a process from starting.
    before = [name for name in facts.pending if "_post_" not in name]
    if before:
        yield Finding(
            severity=Severity.FATAL,
            about="postgres",
            what=f"{len(before)} migrations are not applied, first {before[0]}",
            breaks="the sink, the dead-letter index and all lists",
            fix="orchestrator migrate up",
        )


def _rights(facts: ServerFacts) -> Iterator[Finding]:
    missing = [right for right, has in facts.rights.items() if not has]
    if missing:
        yield Finding(
            severity=Severity.WARNING,
            about="postgres",
            what=f"the account lacks {', '.join(missing)}",
            breaks="the sink or the dead-letter index waits where it needs it",
            fix="let the account of the sink and the index act as the owner of the tables: only an "
            "owner makes the tables of new months. GRANT owner TO account; ALTER ROLE account SET "
            "role = owner; if it is TEMPORARY, GRANT TEMPORARY ON DATABASE ... TO account",
        )


def _connections(facts: ServerFacts, pool_max_size: int) -> Iterator[Finding]:
    needed = _PROCESSES * pool_max_size
    if facts.max_connections < needed:
        yield Finding(
            severity=Severity.WARNING,
            about="postgres",
            what=f"{facts.max_connections} connections for us; a sink, an index and one service "
            f"take up to {needed}",
            breaks="writers and readers wait for each other's connections",
            fix="raise max_connections, or lower ORCH_POSTGRES_POOL_MAX_SIZE",
        )


def _settings(facts: ServerFacts) -> Iterator[Finding]:
    for name, wanted, breaks in (
        ("default_transaction_read_only", "off", "the sink waits: nothing can be written"),
        ("default_transaction_isolation", "read committed", "writers undo each other's work"),
        ("fsync", "on", "a power cut damages the tables; rebuild the projection then"),
        ("full_page_writes", "on", "a power cut damages the tables; rebuild the projection then"),
        ("session_replication_role", "origin", "constraints and triggers are not checked"),
    ):
        found = facts.settings.get(name, wanted)
        if found != wanted:
            yield Finding(
                severity=Severity.WARNING,
                about="postgres",
                what=f"{name} is {found}, must be {wanted}",
                breaks=breaks,
                fix=f"ALTER SYSTEM SET {name} = '{wanted}', or of the database or the account",
            )
