"""Prints a table line by line, when the rows are not known in advance: ``tail -o table``."""

from datetime import UTC, datetime

from rich.cells import cell_len

from orchestrator.cli.output import note_left_out, print_line
from orchestrator.cli.table_layout import ID_MAX, cut
from orchestrator.cli.tail.record import Shown
from schemas.printable import printable

_WIDTHS = {"time (UTC)": 23, "position": 12, "kind": 20, "task": 41, "step": 12, "tenant": 14}
"""By column; a longer value moves the rest of its line. A task's id has 41 characters."""
_NARROW = {"time (UTC)": 10, "kind": 16, "step": 10}
"""By column; used before one of these columns is left out. Such a time has no date."""
_LEAST_IMPORTANT = ("tenant", "position", "step", "time (UTC)")
_INDENT = 4
"""Indentation of a remark that does not fit behind its record."""


class TailTable:
    """The columns that fit a width; with None, as for a pipe, all columns.

    Args:
        width: columns of the terminal.
        one_task: whether all records are of one task, whose id is then left out first.
    """

    def __init__(self, width: int | None, *, one_task: bool = False) -> None:
        self._width = width
        self._columns = dict(_WIDTHS)
        self._left_out: list[str] = []
        for name in (*(("task",) if one_task else ()), *_LEAST_IMPORTANT):
            if name in _NARROW and not self._fits():
                self._columns |= {n: w for n, w in _NARROW.items() if n in self._columns}
            if not self._fits():
                del self._columns[name]
                self._left_out.append(name)

    def _fits(self) -> bool:
        gaps = len(self._columns) - 1
        return self._width is None or sum(self._columns.values()) + gaps <= self._width

    def announce(self) -> None:
        """Print the head; before it, on standard error, the columns that were left out."""
        note_left_out(self._left_out)
        print_line(self._line({name: name for name in self._columns}))

    def line(self, shown: Shown) -> str:
        """The line of a record; a remark that does not fit is on a line of its own."""
        cells = {
            "time (UTC)": self._time(shown.record.timestamp_ms),
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
        return f"{start}\n{' ' * _INDENT}{cut(remark, self._width - _INDENT)}"

    def _time(self, at_ms: int) -> str:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        text = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}"
        width = self._columns.get("time (UTC)", 0)
        return text if width == _WIDTHS["time (UTC)"] else text[len("2026-05-01 ") :][:width]

    def _line(self, cells: dict[str, str]) -> str:
        texts = (self._cell(cells[name], width) for name, width in self._columns.items())
        return " ".join(texts).rstrip()

    def _cell(self, text: str, width: int) -> str:
        """A cell; on a terminal a text that is longer than any id does not move the others."""
        shown = _safe(text)
        too_long = self._width is not None and cell_len(shown) > ID_MAX
        return (cut(shown, width) if too_long else shown).ljust(width)


def _safe(text: str) -> str:
    """The text without control characters, including newlines: a record is one line."""
    return printable(text.replace("\n", "\N{REPLACEMENT CHARACTER}").replace("\t", " "))
