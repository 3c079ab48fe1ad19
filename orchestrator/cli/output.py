"""What commands print: a table for people, or JSON lines for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Output(StrEnum):
    """The forms of what a command prints."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="A table for people, or JSON for programs.")
]


def print_json(document: Any) -> None:
    """One JSON document on one line, at once."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; a None is empty. What strangers wrote is shown as it is, never as markup."""
    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    Console(highlight=False).print(table)


def print_line(text: str) -> None:
    """A line for people."""
    Console(highlight=False, markup=False, soft_wrap=True).print(printable(text))


def printable(text: str) -> str:
    """The text without what moves a terminal's cursor; new lines and tabs stay."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def dollars(micros: int) -> str:
    """Micro-USD as USD with six decimals. Never through a float: it would lose some."""
    sign, amount = ("-", -micros) if micros < 0 else ("", micros)
    return f"{sign}{amount // 1_000_000}.{amount % 1_000_000:06d}"
