"""Prints a table line by line, when the rows are not known in advance: ``tail -o table``."""

import sys
from datetime import UTC, datetime

from orchestrator.cli.output import printable
from orchestrator.cli.tail.record import Shown

_WIDTHS = {"time (UTC)": 23, "position": 12, "kind": 20, "task": 41, "step": 12, "tenant": 14}
"""By column; a longer value moves the rest of its line. A task's id has 41 characters."""
_LEAST_IMPORTANT = ("tenant", "step", "position", "time (UTC)")
_INDENT = 4
"""Indentation of a remark that does not fit behind its record."""


class TailTable:
    """The columns that fit a width; with None, as for a pipe, all columns."""

    def __init__(self, width: int | None) -> None:
        self._width = width
        self._columns = dict(_WIDTHS)
        self._left_out: list[str] = []
        for name in _LEAST_IMPORTANT:
            if width is not None and sum(self._columns.values()) + len(self._columns) > width:
                del self._columns[name]
                self._left_out.append(name)

    def announce(self) -> None:
        """Print the head; on standard error, name the columns that were left out."""
        print(self._line({name: name for name in self._columns}), flush=True)
        if self._left_out:
            names = ", ".join(self._left_out)
            print(f"columns left out: {names}; -o wide shows them", file=sys.stderr)

    def line(self, shown: Shown) -> str:
        """The line of a record; a remark that does not fit is on a line of its own."""
        at = datetime.fromtimestamp(shown.record.timestamp_ms / 1000, UTC)
        cells = {
            "time (UTC)": f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}",
            "position": f"{shown.record.partition}/{shown.record.offset}",
            "kind": shown.kind or "",
            "task": shown.named,
            "step": shown.step or "",
            "tenant": shown.tenant or "",
        }
        start, remark = self._line(cells), _safe(shown.remark)
        line = f"{start:<{sum(self._columns.values()) + len(self._columns)}}{remark}".rstrip()
        if self._width is None or len(line) <= self._width or not remark:
            return line
        return f"{start}\n{' ' * _INDENT}{remark}"

    def _line(self, cells: dict[str, str]) -> str:
        texts = (cells[name].ljust(width) for name, width in self._columns.items())
        return _safe(" ".join(texts).rstrip())


def _safe(text: str) -> str:
    """The text without control characters, including newlines: a record is one line."""
    return printable(text.replace("\n", "\N{REPLACEMENT CHARACTER}").replace("\t", " "))
