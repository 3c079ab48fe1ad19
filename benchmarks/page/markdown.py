"""Tables in Markdown, and the line that says where figures come from."""

from collections.abc import Mapping, Sequence
from typing import Any

NOT_MEASURED = "Not measured."


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; numbers are written as they are, from 1,000 on without decimals."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float) and value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def source(recorded: Mapping[str, Any]) -> str:
    """The command, the day and the machine of a file, and its note if it has one."""
    versions = ", ".join(f"{name} {found}" for name, found in recorded["versions"].items())
    lines = [f"`{recorded['command']}`, {recorded['date']}; {recorded['machine']}; {versions}."]
    if note := recorded.get("note"):
        lines.append(note)
    return "\n".join(lines)
