"""Lays a table out as plain lines: columns that fit, two spaces between them, ids whole. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells, set_cell_size

from schemas.limits import ID_PATTERN

GAP = "  "
"""Between columns. Cells do not contain it, so that ``awk -F '  +'`` finds the columns."""

EMPTY = "-"
"""Shown in a cell without a value, so that every line has the same number of columns."""

_WRAPPED_MIN = 24
"""The least width of a wrapped last column."""
ID_MAX = 64
"""Longest id, see ``schemas.limits.ID_PATTERN``. On a terminal, longer words are foreign text:
they are cut, or broken in a wrapped cell."""
_CUT_MIN = 8
"""The least width to which a longer cell is cut."""
_CUT = "…"
_AROUND = "()[]'\"`,;:.?!"
"""Punctuation around an id in a sentence."""
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Layout:
    """A table as lines; the first line names the columns."""

    lines: list[str]
    left_out: tuple[str, ...]
    """Columns that did not fit, in the order in which they were left out."""


def lay_out(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    width: int | None,
    *,
    drop: Sequence[str] | None = None,
    wrap: bool = False,
) -> Layout:
    """The lines of a table.

    Args:
        columns: names of the columns.
        rows: cells in the order of ``columns``; a None or an empty text is shown as ``-``.
        width: columns of the terminal; None leaves nothing out, cuts nothing and wraps nothing.
            Otherwise a cell that is longer than any id is cut, as far as the width demands.
        drop: columns that may be left out, the least important first; without it all but the
            first, from the right. Columns without a value go before all others, and a column
            that fits after a wider one was left out is put back. Names that the table does not
            have are skipped.
        wrap: whether the last column is text, which continues on further lines. Otherwise a
            table that is still too wide without the columns of ``drop`` is printed too wide.
    """
    columns = [_text(name) for name in columns]
    cells = [[_text(cell) for cell in row] for row in rows]
    kept = list(range(len(columns)))
    left_out: list[str] = []
    if width is not None:
        wanted = reversed(columns[1:]) if drop is None else drop
        names = [name for name in wanted if name in columns]
        whole, cells = cells, [_cut_row(row, ID_MAX, wrap=wrap) for row in cells]
        columns = [cut(name, ID_MAX) for name in columns]
        kept, left_out = _fitted(columns, cells, names, width, wrap=wrap)
        cells = _cut_to(width, columns, whole, cells, kept, wrap=wrap)
    head = [columns[i] for i in kept]
    body = [[row[i] for i in kept] for row in cells]
    return Layout(_lines(head, body, width if wrap else None), tuple(left_out))


def _fitted(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    drop: Sequence[str],
    width: int,
    *,
    wrap: bool,
) -> tuple[list[int], list[str]]:
    """The places of the columns that fit, and the names of the others."""
    kept = list(range(len(columns)))
    is_empty = {
        name: bool(cells) and all(row[columns.index(name)] == EMPTY for row in cells)
        for name in drop
    }
    wanted = sorted(drop, key=lambda name: not is_empty[name])
    left_out: list[str] = []
    while wanted and _needed(columns, cells, kept, wrap=wrap) > width:
        left_out.append(wanted.pop(0))
        kept.remove(columns.index(left_out[-1]))
    for name in reversed(left_out[:-1]):
        more = sorted([*kept, columns.index(name)])
        if _needed(columns, cells, more, wrap=wrap) <= width:
            kept = more
            left_out.remove(name)
    return kept, left_out


def _cut_row(row: Sequence[str], most: int, *, wrap: bool) -> list[str]:
    """A row whose cells have at most this width; a wrapped last one goes on below itself."""
    last = len(row) - 1 if wrap else len(row)
    return [cell if place == last else cut(cell, most) for place, cell in enumerate(row)]


def cut(text: str, most: int) -> str:
    """The text, or its beginning with an ellipsis if it is wider than ``most`` columns."""
    if cell_len(text) <= most:
        return text
    return set_cell_size(text, most - len(_CUT)).rstrip() + _CUT


def _cut_to(
    width: int,
    columns: Sequence[str],
    whole: Sequence[Sequence[str]],
    cells: Sequence[list[str]],
    kept: Sequence[int],
    *,
    wrap: bool,
) -> list[list[str]]:
    """The cells, where those that are longer than any id are cut until the kept columns fit."""
    found = [list(row) for row in cells]
    for i in reversed(kept):
        too_much = _needed(columns, found, kept, wrap=wrap) - width
        if too_much <= 0 or (wrap and i == kept[-1]):
            continue
        most = max(ID_MAX - too_much, _CUT_MIN, cell_len(columns[i]))
        for row, before in zip(found, whole, strict=True):
            if cell_len(before[i]) > ID_MAX:
                row[i] = cut(before[i], most)
    return found


def _text(cell: object) -> str:
    return EMPTY if cell is None else " ".join(str(cell).split()) or EMPTY


def _needed(
    columns: Sequence[str], cells: Sequence[Sequence[str]], kept: Sequence[int], *, wrap: bool
) -> int:
    widths = [max(cell_len(columns[i]), *(cell_len(row[i]) for row in cells), 0) for i in kept]
    if wrap:
        widths[-1] = min(widths[-1], _WRAPPED_MIN)
    return sum(widths) + len(GAP) * (len(kept) - 1)


def _lines(head: Sequence[str], body: Sequence[Sequence[str]], width: int | None) -> list[str]:
    table = [head, *body]
    widths = [max(cell_len(row[i]) for row in table) for i in range(len(head))]
    right = [_is_number(i, body) for i in range(len(head))]
    before = sum(widths[:-1]) + len(GAP) * (len(head) - 1)
    lines = []
    for row in table:
        padded = [_padded(text, widths[i], right[i]) for i, text in enumerate(row)]
        start = GAP.join(padded[:-1]) + (GAP if len(row) > 1 else "")
        if width is None or cell_len(start) + cell_len(row[-1]) <= width:
            lines.append((start + padded[-1]).rstrip())
        else:
            first, *others = _wrapped(row[-1], max(width - before, _WRAPPED_MIN))
            lines += [start + first, *(" " * before + other for other in others)]
    return lines


def _is_number(column: int, body: Sequence[Sequence[str]]) -> bool:
    """Whether a column holds only numbers. The first column is always left-aligned."""
    found = [row[column] for row in body if row[column] != EMPTY]
    return column > 0 and bool(found) and all(_NUMBER.fullmatch(text) for text in found)


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of whole words; words that are wider than a line and cannot be an id are broken."""
    lines, line = [], ""
    for word in _words(text, width):
        longer = f"{line} {word}" if line else word
        if line and cell_len(longer) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line]


def _words(text: str, width: int) -> Iterator[str]:
    for word in text.split():
        is_id = ID_PATTERN.fullmatch(word.strip(_AROUND))
        yield from [word] if is_id or cell_len(word) <= width else chop_cells(word, width)
