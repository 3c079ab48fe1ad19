"""What an error of Postgres means, and which settings are refused."""

import asyncpg
import pytest
from asyncpg import exceptions

from sinks.errors import (
    PostgresRefusedError,
    SchemaMissingError,
    SinkBlockedError,
    SinkError,
    SinkLockedError,
    SinkRowError,
    SinkUnavailableError,
    ours,
)
from sinks.settings import PostgresSettings
from sinks.sqlstates import CLASSES, CODES, rule_of


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        pytest.param("08006", SinkUnavailableError, id="connection failure"),
        pytest.param("22001", SinkRowError, id="string too long"),
        pytest.param("22P05", SinkRowError, id="untranslatable character"),
        pytest.param("23505", SinkRowError, id="unique violation"),
        pytest.param("25006", SinkUnavailableError, id="read-only transaction"),
        pytest.param("25001", PostgresRefusedError, id="active transaction: a bug"),
        pytest.param("40P01", SinkUnavailableError, id="deadlock"),
        pytest.param("42501", SinkBlockedError, id="a right was revoked"),
        pytest.param("42703", PostgresRefusedError, id="undefined column: migrate"),
        pytest.param("42P01", SchemaMissingError, id="undefined table: a restore runs"),
        pytest.param("42P10", SchemaMissingError, id="no key for ON CONFLICT: a restore runs"),
        pytest.param("3F000", SchemaMissingError, id="undefined schema: a restore runs"),
        pytest.param("53100", SinkUnavailableError, id="disk full"),
        pytest.param("55P03", SinkLockedError, id="lock timeout"),
        pytest.param("54000", SinkRowError, id="index row too large"),
        pytest.param("55006", PostgresRefusedError, id="object in use: a bug"),
        pytest.param("57014", SinkUnavailableError, id="statement timeout"),
        pytest.param("57P01", SinkUnavailableError, id="shutdown"),
        pytest.param("28P01", SinkBlockedError, id="wrong password"),
        pytest.param("3D000", SinkBlockedError, id="no such database"),
        pytest.param("P0001", SinkRowError, id="a trigger raises"),
        pytest.param("XX002", SinkBlockedError, id="a corrupt index"),
        pytest.param("AB123", SinkRowError, id="a code of an extension's own"),
    ],
)
def test_the_sqlstate_decides(sqlstate: str, expected: type[SinkError]) -> None:
    error = asyncpg.PostgresError.new({"S": "ERROR", "C": sqlstate, "M": "no"})

    translated = ours(error)

    assert type(translated) is expected


def every_class_of_the_driver() -> list[type[asyncpg.PostgresError]]:
    found = [getattr(exceptions, name) for name in exceptions.__all__]
    return [
        kind
        for kind in found
        if isinstance(kind, type)
        and issubclass(kind, asyncpg.PostgresError)
        and len(kind.sqlstate or "") == 5
    ]


def test_every_error_that_the_driver_knows_has_a_stated_policy() -> None:
    kinds = every_class_of_the_driver()

    assert len(kinds) > 200
    assert {kind.sqlstate[:2] for kind in kinds if kind.sqlstate} - CLASSES.keys() == set()


# Appendix A of PostgreSQL 18: the class of each section.
APPENDIX_A = frozenset(
    (
        *("00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21"),
        *("22", "23", "24", "25", "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D"),
        *("3F", "40", "42", "44", "53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX"),
    )
)


def test_every_class_of_the_appendix_has_a_policy_and_a_reason() -> None:
    assert CLASSES.keys() == APPENDIX_A
    assert all(rule.reason for rule in [*CLASSES.values(), *CODES.values()])
    assert all(code[:2] in CLASSES for code in CODES)


@pytest.mark.parametrize("sqlstate", ["42P01", "42501", "28P01"])
def test_an_error_that_a_person_has_to_end_says_what_to_do(sqlstate: str) -> None:
    error = asyncpg.PostgresError.new({"S": "ERROR", "C": sqlstate, "M": "no"})

    assert rule_of(sqlstate).reason in str(ours(error))


def test_only_an_unavailable_server_is_retriable() -> None:
    assert SinkUnavailableError.retriable
    assert not SinkRowError.retriable


@pytest.mark.parametrize("error", [ConnectionRefusedError(), TimeoutError(), OSError()])
def test_a_server_that_does_not_answer_is_unavailable(error: Exception) -> None:
    assert isinstance(ours(error), SinkUnavailableError)


def test_the_drivers_complaint_about_itself_is_a_bug_unless_the_connection_is_lost() -> None:
    error = asyncpg.InterfaceError("connection is closed")

    assert ours(error) is None
    assert isinstance(ours(error, connection_lost=True), SinkUnavailableError)


def test_the_dsn_is_not_shown() -> None:
    assert "secret" not in repr(PostgresSettings(dsn="postgresql://a:secret@host/db"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pool_max_size", 0),
        ("connect_timeout_s", 0.0),
        ("statement_timeout_ms", -1),
        ("lock_timeout_ms", 0),
        ("operation_timeout_s", 10.0),
        ("operation_timeout_s", float("inf")),
    ],
)
def test_a_setting_without_sense_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        PostgresSettings(**{name: value})  # type: ignore[arg-type]
