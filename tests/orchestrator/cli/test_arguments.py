"""Arguments of commands: what is taken, and that what is wrong is said without a traceback."""

import io
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from orchestrator.cli import arguments
from orchestrator.cli.output import dollars
from schemas.printable import printable


@pytest.mark.parametrize(
    ("text", "priority"), [("0", 0), ("10", 10), ("low", 0), ("normal", 5), ("high", 10)]
)
def test_a_priority_is_a_number_or_a_name(text: str, priority: int) -> None:
    assert arguments.priority(text) == priority


@pytest.mark.parametrize("text", ["", "11", "-1", "5.0", "urgent", "1e1", "\N{SUPERSCRIPT TWO}"])
def test_what_is_no_priority_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is neither 0 to 10 nor low, normal, high"):
        arguments.priority(text)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-05-01", datetime(2026, 5, 1, tzinfo=UTC)),
        ("2026-05-01T12:30", datetime(2026, 5, 1, 12, 30, tzinfo=UTC)),
        ("2026-05-01T12:30:00+02:00", datetime(2026, 5, 1, 10, 30, tzinfo=UTC)),
        ("2026-05-01T12:30:00.5Z", datetime(2026, 5, 1, 12, 30, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_a_time_without_an_offset_is_utc(text: str, time: datetime) -> None:
    assert arguments.time(text) == time


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-13-01",
        "0001-01-01T00:00+12:00",
        "\ud800",
        "30",
        "m",
        "999999d",
        "-1h",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a time like"):
        arguments.time(text)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
    ],
)
def test_a_time_may_be_how_long_ago_and_a_deadline_how_long_from_now(
    text: str, ago: timedelta
) -> None:
    before = datetime.now(UTC)
    past, to_come = arguments.time(text), arguments.deadline(text)
    after = datetime.now(UTC)

    assert before - ago <= past <= after - ago
    assert before + ago <= to_come <= after + ago


@pytest.mark.parametrize("text", ["400s", "400m", "400h"])
def test_what_is_dropped_for_good_is_bounded_in_days(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="must be days"):
        arguments.whole_days(text)


def test_whole_days_are_days_ago_or_a_day() -> None:
    assert arguments.whole_days("2026-05-01") == datetime(2026, 5, 1, tzinfo=UTC)
    assert arguments.whole_days("1d") < datetime.now(UTC)


def test_a_time_is_whole_milliseconds_on_the_wire() -> None:
    assert arguments.millis(datetime(2026, 5, 1, 0, 0, 0, 123_000, tzinfo=UTC)) == 1777593600123


@pytest.mark.parametrize("text", ["", "a b", "x" * 65, "\ud800", "../x"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not an id"):
        arguments.task_id(text)


@pytest.mark.parametrize("text", ["\0", "\ud800"])
def test_words_that_nobody_can_keep_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="the text contains"):
        arguments.words(text)


def test_a_document_comes_from_the_argument_a_file_or_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "input.json"
    file.write_bytes('{"a": "ä"}'.encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"b": 1}')))

    assert arguments.document('{"c": 2}') == '{"c": 2}'
    assert arguments.document(f"@{file}") == '{"a": "ä"}'
    assert arguments.document("-") == '{"b": 1}'


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")

    with pytest.raises(typer.BadParameter, match="No such file"):
        arguments.document(f"@{tmp_path / 'missing'}")
    with pytest.raises(typer.BadParameter, match="is not UTF-8 text"):
        arguments.document(f"@{binary}")
    with pytest.raises(typer.BadParameter, match="is not UTF-8 text"):
        arguments.document("\ud800")
    with pytest.raises(typer.BadParameter, match="cannot be read"):
        arguments.document(f"@{tmp_path}")


@pytest.mark.parametrize(
    ("micros", "shown"),
    [
        (0, "0.000000"),
        (1, "0.000001"),
        (1_234_567, "1.234567"),
        (-5, "-0.000005"),
        (2**63 * 10**6 + 1, f"{2**63}.000001"),
    ],
)
def test_money_is_shown_to_the_last_micro_dollar(micros: int, shown: str) -> None:
    assert dollars(micros) == shown


def test_what_would_move_the_cursor_is_not_printed() -> None:
    assert printable("a\x1b[2Jb\nc") == "a\N{REPLACEMENT CHARACTER}[2Jb\nc"
