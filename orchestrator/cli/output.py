"""The output of commands: a table for people, or JSON lines for programs."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from orchestrator.cli.standard_streams import takes_all_text
from orchestrator.cli.table_layout import lay_out
from schemas.printable import on_one_line, printable


class Output(StrEnum):
    """The forms of output."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"


OutputOption = Annotated[
    Output,
    typer.Option(
        "--output",
        "-o",
        help="table fits the terminal, wide has all columns, json is one document a line.",
    ),
]


def json_text(document: Any, *, indent: int | None = None) -> str:
    """A document as JSON; escaped are only characters that a terminal would act on.

    If standard output cannot encode every character, all beyond ASCII are escaped.
    """
    text = json.dumps(document, ensure_ascii=not takes_all_text(), indent=indent)
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1]


def print_json(document: Any) -> None:
    """Print a JSON document on one line, at once."""
    sys.stdout.write(json_text(document) + "\n")
    sys.stdout.flush()


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    output: Output = Output.TABLE,
    drop: Sequence[str] | None = None,
    wrap: bool = False,
) -> None:
    """Print a table as plain lines; of foreign text, what a terminal acts on is replaced.

    On a terminal the table fits its width: the columns in ``drop`` are left out, the least
    important first (without ``drop``: from the right), and a line on standard error names them.
    With ``wide``, or when standard output is not a terminal, every column is printed, and every
    row is one line.

    Args:
        columns: names of the columns.
        rows: cells in the order of ``columns``; a None is shown as ``-``.
        output: the requested form.
        drop: columns that may be left out, the least important first.
        wrap: whether the last column is text, which a terminal shows on several lines.
    """
    width = terminal_width() if output is Output.TABLE else None
    shown = ([None if cell is None else printable(str(cell)) for cell in row] for row in rows)
    table = lay_out([printable(name) for name in columns], shown, width, drop=drop, wrap=wrap)
    sys.stdout.write("".join(line + "\n" for line in table.lines))
    sys.stdout.flush()
    note_left_out(table.left_out)


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None if it is a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def note_left_out(columns: Sequence[str]) -> None:
    """Name columns that a table does not show; prints nothing if it shows all."""
    if columns:
        print_note(f"columns left out: {', '.join(columns)}; -o wide shows them")


def print_note(text: str) -> None:
    """Print a remark about the output on standard error, where no program takes it for a row.

    On a terminal it is wrapped at words; elsewhere it is one line.
    """
    if sys.stderr is None:  # closed; print() would write to standard output instead
        return
    if sys.stdout is not None:
        sys.stdout.flush()
    text = printable(text)
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    print(text, file=sys.stderr, flush=True)


def print_line(text: str = "") -> None:
    """Print one line for people, at once. Foreign text cannot add a line, style or a picture."""
    print_text(on_one_line(text))


def print_text(text: str) -> None:
    """Print lines for people or for a file, at once.

    Foreign text may add lines; characters that a terminal acts on are replaced.
    """
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def dollars(micros: int) -> str:
    """Micro-USD as USD with six decimals. Never through a float, which would lose some."""
    sign, amount = ("-", -micros) if micros < 0 else ("", micros)
    return f"{sign}{amount // 1_000_000}.{amount % 1_000_000:06d}"
