"""What can go wrong with Postgres, and what the caller may do afterwards.

:func:`ours` is the only place that reads an error of the driver; :mod:`sinks.sqlstates` says
what each code means. An error of the driver about its own use is a bug and passes unchanged.
"""

import ssl

import asyncpg

from schemas.errors import OrchestratorError
from sinks.sqlstates import Policy, Rule, rule_of


class SinkError(OrchestratorError):
    """Root of the sink's errors."""


class SinkUnavailableError(SinkError):
    """Postgres did not answer, or cannot write now. Pause, and write the same batch again.

    Either nothing of the batch was written, or all of it (the connection broke in COMMIT); the
    writer that raised this finds out which when it is given the same batch again.
    """

    code = "SINK_UNAVAILABLE"
    retriable = True


class SinkLockedError(SinkUnavailableError):
    """Another session holds a lock that the batch needs. Nothing was written: write it again.

    Other batches may not need that lock.
    """


class SinkBlockedError(SinkUnavailableError):
    """Postgres would refuse every row, or refuses the account. Nothing was written.

    Pause longer from time to time, and write the same batch again: the write succeeds after an
    operator has changed what the message names. The rows are not at fault and not dead-lettered.
    """

    code = "SINK_BLOCKED"


class SchemaMissingError(SinkBlockedError):
    """A table, the schema or a key of ours is not in the database. Nothing was written.

    As for its base: a restore makes it again, or an operator runs the migrations. A schema that
    is there in another version is a :class:`MigrationError` instead.
    """

    code = "SCHEMA_MISSING"


class PostgresTlsError(SinkBlockedError):
    """TLS to Postgres failed: a certificate, a file of the DSN, or a server without TLS.

    Nothing was written. As for its base; the message says what to change, and quotes no DSN.
    """

    code = "POSTGRES_TLS_FAILED"


class SinkRowError(SinkError):
    """Postgres refuses a row. Nothing was written.

    The same batch is refused again: write its events one by one, and dead-letter the event that
    is refused alone.
    """

    code = "ROW_REFUSED"


class SinkPositionError(SinkError):
    """``sink_offsets`` is not where this writer left it: another one writes this partition.

    Nothing was written. Stop writing the partition, and begin again from
    :meth:`sinks.writer.Writer.positions` if it is still ours.
    """

    code = "SINK_POSITION_MOVED"


class HistoryExpiredError(SinkError):
    """The log no longer holds the beginning of a task: its rows cannot be made from the log.

    Nothing was written; the existing rows stay.
    """

    code = "HISTORY_EXPIRED"


class RebuildRunsError(SinkError):
    """Another session rebuilds or verifies this projection. Nothing was changed; wait for it."""

    code = "REBUILD_RUNS"


class MigrationError(SinkError):
    """The schema is not the one that this program needs, or its files changed. Nothing was changed.

    The message names the file; an operator has to act.
    """

    code = "MIGRATION_FAILED"


class PostgresRefusedError(SinkError):
    """Postgres refuses the connection, or the DSN is wrong. An operator has to change the set-up.

    Trying again does not help; the message says what does.
    """

    code = "POSTGRES_REFUSED"


class CursorError(SinkError):
    """The text is not a cursor of this list's order. Begin with the first page."""

    code = "CURSOR_INVALID"


_BY_POLICY: dict[Policy, type[SinkError]] = {
    Policy.WAIT: SinkUnavailableError,
    Policy.WAIT_FOR_LOCK: SinkLockedError,
    Policy.WAIT_FOR_A_PERSON: SinkBlockedError,
    Policy.WAIT_FOR_TABLES: SchemaMissingError,
    Policy.ISOLATE: SinkRowError,
    Policy.STOP: PostgresRefusedError,
}

_LOST = (
    OSError,
    asyncpg.TargetServerAttributeNotMatched,
    # The server died in the middle of an exchange; the connection is cut and never used again.
    asyncpg.InternalClientError,
)


def ours(error: BaseException, *, connection_lost: bool = False) -> SinkError | None:
    """Convert an error of the driver to one of ours; None means that the error is a bug.

    Args:
        error: what the driver raised.
        connection_lost: the connection was found closed; then the driver raises an error about
            its own state, without an SQLSTATE.
    """
    if isinstance(error, asyncpg.PostgresError):
        rule = _rule_of(error)
        # The message names table, column and constraint. The detail holds values: left out.
        said = f"{error.sqlstate}: {error.args[0]}"
        if rule.policy in (Policy.WAIT_FOR_A_PERSON, Policy.WAIT_FOR_TABLES, Policy.STOP):
            said = f"{said} ({rule.reason})"
        return _BY_POLICY[rule.policy](said)
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        # The driver's own message quotes the value: left out.
        return SinkRowError("a value does not fit the type of its column")
    if (wrong := _tls_fault(error)) is not None:
        return PostgresTlsError(wrong)
    lost = connection_lost and isinstance(error, asyncpg.InterfaceError)
    if lost or isinstance(error, _LOST):
        return SinkUnavailableError(f"{type(error).__name__}: {error}")
    return None


def _rule_of(error: asyncpg.PostgresError) -> Rule:
    if isinstance(error, asyncpg.CheckViolationError) and error.constraint_name is None:
        return Rule(Policy.WAIT, "no partition for the row's month: the next write makes it")
    if "startup parameter" in str(error) and error.sqlstate == _OF_POOLERS:
        return Rule(Policy.WAIT_FOR_A_PERSON, _POOLER)
    return rule_of(error.sqlstate or "")


def _tls_fault(error: BaseException) -> str | None:
    """What is wrong with TLS, without the host's name; None for any other error."""
    match error:
        case ssl.SSLCertVerificationError(verify_code=code):
            return _CERTIFICATES.get(
                code, "the server's certificate is not of an authority in sslrootcert"
            )
        case ssl.SSLError(reason=str(reason)) if "ALERT" in reason:
            return f"the server refuses our side of TLS, or our certificate ({reason})"
        case ssl.SSLError(reason=reason) if reason in _FILE_REASONS:
            return "a file of sslrootcert, sslcert, sslkey or sslcrl is not what it should be"
        case ConnectionError() if "rejected SSL upgrade" in str(error):
            return "the server does not speak TLS, which sslmode of the DSN demands"
    return None


_OF_POOLERS = "08P01"
_POOLER = (
    "a pooler is in transaction mode: writers and migrations need a direct connection, readers"
    " ORCH_POSTGRES_READER_POOLER=true"
)

# The numbers are OpenSSL's (X509_V_ERR_…).
_CERTIFICATES = {
    9: "the server's certificate is not valid yet",
    10: "the server's certificate has expired",
    62: "the server's certificate is for another host than the DSN's",
    64: "the server's certificate is for another host than the DSN's",
}
_FILE_REASONS = ("NO_CERTIFICATE_OR_CRL_FOUND", "PEM_LIB", "KEY_VALUES_MISMATCH", "NO_START_LINE")
