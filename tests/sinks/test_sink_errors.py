"""What an error of Postgres means, and which settings are refused."""

import asyncpg
import pytest

from sinks.errors import SinkLockedError, SinkRowError, SinkUnavailableError, ours
from sinks.settings import PostgresSettings


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        pytest.param("08006", SinkUnavailableError, id="connection failure"),
        pytest.param("22001", SinkRowError, id="string too long"),
        pytest.param("22P05", SinkRowError, id="untranslatable character"),
        pytest.param("23505", SinkRowError, id="unique violation"),
        pytest.param("25006", SinkUnavailableError, id="read-only transaction"),
        pytest.param("25001", None, id="active transaction: a bug"),
        pytest.param("40P01", SinkUnavailableError, id="deadlock"),
        pytest.param("42P01", None, id="undefined table: a bug"),
        pytest.param("53100", SinkUnavailableError, id="disk full"),
        pytest.param("55P03", SinkLockedError, id="lock timeout"),
        pytest.param("55006", None, id="object in use: a bug"),
        pytest.param("57014", SinkUnavailableError, id="statement timeout"),
        pytest.param("57P01", SinkUnavailableError, id="shutdown"),
        pytest.param("28P01", None, id="wrong password: the set-up"),
    ],
)
def test_the_sqlstate_decides(
    sqlstate: str, expected: type[SinkUnavailableError | SinkRowError] | None
) -> None:
    error = asyncpg.PostgresError.new({"S": "ERROR", "C": sqlstate, "M": "no"})

    translated = ours(error)

    assert (None if translated is None else type(translated)) is expected


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
