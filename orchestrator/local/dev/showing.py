"""The output of the demonstration: rows of Postgres, for people, in 80 columns."""

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.dead_letter import Origin
from schemas.headers import header_text
from schemas.printable import printable
from sinks.reads.stored import StoredTask

_WIDTH = 66
_LINES_MAX = 3


def show_task(console: Console, row: StoredTask) -> None:
    """Print one task: its input, its steps and its output."""
    took = f"{row.status} in {row.duration_ms} ms" if row.duration_ms is not None else row.status
    console.print()
    console.print(Text.assemble((printable(row.type), "bold"), printable(f"  {row.id}  {took}")))
    for name, text in [*_asked(row), *_done(row), *_came_out(row)]:
        _print(console, name, text)


def show_usage(console: Console, rows: Sequence[StoredTask]) -> None:
    """Tokens and cost, by task type."""
    table = Table("type", "tasks", "input tokens", "output tokens", "micro-USD", title="usage")
    for column in table.columns[1:]:
        column.justify = "right"
    kinds = list(dict.fromkeys(row.type for row in rows))
    for kind in kinds:
        table.add_row(Text(printable(kind)), *_sums([row for row in rows if row.type == kind]))
    table.add_section()
    table.add_row("all", *_sums(rows))
    console.print()
    console.print(table)


def show_letter(console: Console, letter: Origin | None) -> None:
    """The dead letter of the malformed record."""
    if letter is None:
        console.print("\n[red]the malformed record has no dead letter[/red]")
        return
    console.print()
    console.print(Text.assemble(("dead letter", "bold"), f" in {letter.topic}"))
    for name in ("code", "stage", "message"):
        text = header_text(letter.headers, f"__dlq.errors.{name}")
        _print(console, name, text or "")
    _print(console, "value", repr(letter.value))
    console.print()


def _asked(row: StoredTask) -> list[tuple[str, str]]:
    given = json.loads(row.input)
    lines = [("earlier", turn["content"]) for turn in given.get("history", [])[:1]]
    if "query" in given:
        lines.append(("asked", given["query"]))
    for name in ("audio", "image"):
        if name in given:
            lines.append((name, f"{len(given[name])} characters of base64"))
    return lines


def _done(row: StoredTask) -> list[tuple[str, str]]:
    """The substeps of the task's steps: what an agent did."""
    return [
        (f"substep {number}", f"{substep['name']}  {_inside(substep)}")
        for step in json.loads(row.steps)
        for number, substep in enumerate(step.get("substeps") or [], 1)
    ]


def _inside(substep: dict[str, Any]) -> str:
    given, came = (_value(substep[name]) for name in ("input", "output"))
    if "argument" not in given:
        return ""  # its output is the answer, which follows
    return f"{given['argument']} → {json.dumps(came, ensure_ascii=False)}"


def _value(document: Any) -> Any:
    return json.loads(document) if isinstance(document, str) else document


def _came_out(row: StoredTask) -> list[tuple[str, str]]:
    if row.status != "completed":
        return [("error", f"{row.error_code}: {row.error_message}")]
    output = json.loads(row.output or "{}")
    lines: list[tuple[str, str]] = []
    if "confidence" in output:
        lines.append(("heard", f"{output['text']!r}, confidence {output['confidence']}"))
    if seen := output.get("image"):
        size = f"{seen['format']}, {seen['width']} x {seen['height']}"
        colours = ", ".join(f"{c['name']} {c['hex']} {c['share']:.0%}" for c in seen["colours"])
        lines += [("seen", size), ("colours", colours)]
    lines.append(("answered", str(output.get("answer", ""))))
    return lines


def _sums(rows: Sequence[StoredTask]) -> tuple[str, ...]:
    return (
        str(len(rows)),
        str(sum(row.input_tokens for row in rows)),
        str(sum(row.output_tokens for row in rows)),
        str(sum(row.cost_micros for row in rows)),
    )


def _print(console: Console, name: str, text: str) -> None:
    """A name and what belongs to it, in at most ``_LINES_MAX`` lines."""
    lines = textwrap.wrap(printable(text), _WIDTH) or [""]
    if len(lines) > _LINES_MAX:
        lines = [*lines[: _LINES_MAX - 1], lines[_LINES_MAX - 1][: _WIDTH - 1] + "…"]
    for place, line in enumerate(lines):
        # As text, not as markup: it is foreign, and may hold brackets.
        console.print(Text(f"  {name if place == 0 else '':9} {line}"), soft_wrap=True)
