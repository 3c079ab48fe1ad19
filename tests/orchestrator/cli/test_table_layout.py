"""Tables fit the terminal and pipes: ids whole, the least important columns left out first."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from orchestrator.cli import output
from orchestrator.cli.dlq.show import print_list
from orchestrator.cli.output import Output, json_text, print_note, print_table
from orchestrator.cli.table_layout import lay_out
from orchestrator.cli.tail.table import TailTable
from tests.letters.building import a_case

ID = "task_019a6f0c-1d2e-7f30-8a4b-5c6d7e8f9a0b"
COLUMNS = ("id", "status", "tenant", "conversation", "created")
ROWS = [(ID, "completed", "acme", "c-17", "2026-05-01T12:30:00.000Z"), (ID, "failed", None, "", 7)]

CELLS = st.one_of(st.none(), st.integers(), st.text(max_size=30))


def test_the_least_important_columns_are_left_out_first_and_ids_are_whole() -> None:
    table = lay_out(COLUMNS, ROWS, 80, drop=("conversation", "tenant", "created"))

    assert table.left_out == ("conversation", "tenant")
    assert table.lines[0].split() == ["id", "status", "created"]
    assert all(line.startswith(ID) for line in table.lines[1:])
    assert max(map(len, table.lines)) <= 80


def test_without_a_list_columns_are_left_out_from_the_right_but_for_the_first() -> None:
    assert lay_out(COLUMNS, ROWS, 10).lines == ["id", ID, ID]


def test_a_table_that_fits_has_all_its_columns() -> None:
    assert lay_out(COLUMNS, ROWS, 200, drop=COLUMNS).left_out == ()


def test_a_table_without_rows_is_its_head() -> None:
    assert lay_out(COLUMNS, [], 80).lines == ["id  status  tenant  conversation  created"]


def test_numbers_end_at_one_place() -> None:
    table = lay_out(("type", "USD"), [("rag", "0.000150"), ("agent", "12.000000")], 80)

    assert table.lines == ["type         USD", "rag     0.000150", "agent  12.000000"]


def test_a_text_in_the_last_column_goes_on_below_itself() -> None:
    table = lay_out(("seq", "why"), [(1, "a reason that is longer than the line")], 30, wrap=True)

    assert table.lines == [
        "seq  why",
        "1    a reason that is longer",
        "     than the line",
    ]


@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5),
    st.one_of(st.none(), st.integers(20, 120)),
)
def test_a_line_of_a_pipe_has_every_column_and_a_terminal_no_longer_line_than_it_must(
    rows: list[tuple[object, ...]], width: int | None
) -> None:
    table = lay_out(("first", "second", "third"), rows, width)
    shown = 3 - len(table.left_out)

    assert len(table.lines) == len(rows) + 1
    for line in table.lines:
        assert len(re.split(r" {2,}", line.strip(" "))) == shown
        assert line == line.rstrip(" ")
    if width is not None and shown > 1:
        assert max(cell_len(line) for line in table.lines) <= width


def test_what_was_left_out_is_said_on_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "terminal_width", lambda: 80)
    print_table(COLUMNS, ROWS, drop=("conversation", "tenant"))
    narrow = capsys.readouterr()
    print_table(COLUMNS, ROWS, output=Output.WIDE, drop=("conversation", "tenant"))
    wide = capsys.readouterr()

    assert narrow.err == "columns left out: conversation, tenant; -o wide shows them\n"
    assert wide.err == ""
    assert wide.out.split()[:5] == list(COLUMNS)


def test_a_note_is_wrapped_at_words_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    print_note("a-word " * 30)

    lines = capsys.readouterr().err.splitlines()
    assert max(map(len, lines)) <= 80
    assert [word for line in lines for word in line.split()] == ["a-word"] * 30


def test_a_pipe_gets_every_column_and_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("id", "text"), [("a", "x\x1b[2J\ny")])

    assert capsys.readouterr().out == "id  text\na   x\N{REPLACEMENT CHARACTER}[2J y\n"


def test_a_column_without_a_value_is_left_out_before_one_with_values() -> None:
    rows = [(ID, "completed", None, "c-17", "2026-05-01T12:30:00.000Z")]
    table = lay_out(COLUMNS, rows, 80, drop=("conversation", "tenant", "created"))

    assert table.left_out == ("tenant", "conversation")


def test_a_column_that_fits_after_a_wider_one_was_left_out_is_put_back() -> None:
    rows = [(ID, "completed", "acme", "c" * 5, "2026-05-01T12:30:00.000Z")]
    table = lay_out(COLUMNS, rows, 80, drop=("conversation", "tenant", "created", "status"))
    narrow = lay_out(COLUMNS, rows, 70, drop=("conversation", "tenant", "created", "status"))

    assert table.left_out == ("conversation", "tenant")
    assert narrow.left_out == ("conversation", "created")


@pytest.mark.parametrize(("width", "kept"), [(80, ["since"]), (110, ["since", "topic"])])
def test_dead_letters_keep_their_time_and_then_their_topic(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    kept: list[str],
) -> None:
    monkeypatch.setattr(output, "terminal_width", lambda: width)
    topic = "orchestrator.task-created.v1"
    letter = a_case(id="8b7a1c9e-0d4f-5b6a-9c8d-7e6f5a4b3c2d", code="RECORD_INVALID", topic=topic)
    print_list([letter], limit=0, output=Output.TABLE)

    head = capsys.readouterr().out.splitlines()[0].split()
    assert [name for name in ("since", "topic") if name in head] == kept
    assert {"id", "code"} <= set(head)


@pytest.mark.parametrize(
    ("width", "one_task", "head"),
    [
        (80, False, "time (UTC) kind             task                                      step"),
        (80, True, "time (UTC)              position     kind                 step"),
    ],
)
def test_records_fit_a_terminal_with_time_kind_task_and_step(
    capsys: pytest.CaptureFixture[str], width: int, one_task: bool, head: str
) -> None:
    TailTable(width, one_task=one_task).announce()
    printed = capsys.readouterr()

    assert printed.out == f"{head}\n"
    assert printed.err.startswith("columns left out: ")


def test_json_escapes_what_a_terminal_would_act_on_and_nothing_else() -> None:
    text = json_text({"id": "a\x9b31m\u202eb\x7f\u200bü日"})

    assert text == '{"id": "a\\u009b31m\\u202eb\\u007f\\u200bü日"}'
    assert json.loads(text) == {"id": "a\x9b31m\u202eb\x7f\u200bü日"}
