"""Derives the parts of a statement from a row type: columns, source of rows, values. Pure.

A query names a row type in braces, so that a column is listed once, in the type:

| in the SQL                 | becomes                                                      |
|----------------------------|--------------------------------------------------------------|
| ``{TaskRow.columns}``      | the columns of the table, in the order of the type           |
| ``{TaskRow.values}``       | the same as expressions, times made from milliseconds        |
| ``{TaskRow.rows(begun)}``  | the source, named ``p``: rows from the JSON text ``begun``   |
| ``{TaskRow.excluded(id)}`` | ``column = excluded.column`` for every column but these keys |

:func:`rows_text` makes that JSON text. A document is a string in it, not a part of it: the JSON
value ``null`` stays one, and no document can change the text around it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import NoneType
from typing import Annotated, Any, NewType, get_args, get_origin, get_type_hints

import msgspec

from schemas.records import Json, Millis


@dataclass(frozen=True, slots=True)
class SqlType:
    """How a field of a row is sent."""

    name: str
    is_time: bool = False
    """Unix milliseconds that become a ``timestamptz``."""
    stored: bool = True
    """False: not a column of the table; a statement uses it by name."""

    @property
    def sent(self) -> str:
        """The type in which a value comes."""
        return "text" if self.name == "jsonb" else self.name


Integer = Annotated[int, SqlType("integer")]
"""A column of four bytes; a plain ``int`` has eight."""
UnixMillis = Annotated[int, SqlType("bigint", is_time=True)]
"""A time, as :data:`~schemas.records.Millis` is."""

_PLAIN: Mapping[object, SqlType] = {
    str: SqlType("text"),
    int: SqlType("bigint"),
    bool: SqlType("boolean"),
    Json: SqlType("jsonb"),
    Millis: SqlType("bigint", is_time=True),
    datetime: SqlType("timestamptz"),
}
_NAMED = re.compile(r"\{(\w+)\.(columns|values|rows|excluded)(?:\(([\w$, ]*)\))?\}")
_LEFT = re.compile(r"\{\w+\.[^}]*\}")
_WIDTH = 92
_ENCODE = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a row type."""

    name: str
    type: SqlType

    @property
    def value(self) -> str:
        """The column as an expression over the source."""
        return f"ai_orchestrator.from_millis({self.name})" if self.type.is_time else self.name

    @property
    def picked(self) -> str:
        """The column as an expression over what was sent."""
        name, wanted = self.name, self.type.name
        return name if self.type.sent == wanted else f"{name}::{wanted} AS {name}"


def fill_in(sql: str, rows: Mapping[str, type]) -> str:
    """Replace the references to row types, which a statement holds in braces.

    Args:
        sql: one statement or several.
        rows: the row types that may be named.

    Raises:
        KeyError: a type is named that is not among them; a bug of the query file.
        ValueError: braces name a key or a part that the row type does not have.
    """

    def replaced(found: re.Match[str]) -> str:
        columns = columns_of(rows[found[1]])
        stored = [column for column in columns if column.type.stored]
        match found[2]:
            case "columns":
                return _wrapped([column.name for column in stored])
            case "values":
                return _wrapped([column.value for column in stored])
            case "rows":
                return _source(columns, found[3] or "$1")
        keys = {key.strip() for key in (found[3] or "").split(",")}
        if unknown := keys - {column.name for column in stored}:
            raise ValueError(f"{found[0]} names {', '.join(sorted(unknown))}")
        return ",\n    ".join(f"{c.name} = excluded.{c.name}" for c in stored if c.name not in keys)

    filled = _NAMED.sub(replaced, sql)
    if left := _LEFT.search(filled):
        raise ValueError(f"{left[0]} does not say what a row type can give")
    return filled


def rows_text(rows: Sequence[msgspec.Struct]) -> str | None:
    """Rows of one type as the JSON text of ``{Row.rows}``: an array of objects; None if empty.

    Raises:
        ValueError: a text cannot be UTF-8.
    """
    return _ENCODE(rows).decode() if rows else None


def _source(columns: list[Column], text: str) -> str:
    typed = [f"{column.name} {column.type.sent}" for column in columns]
    picked = [column.picked for column in columns]
    return (
        f"(SELECT\n    {_wrapped(picked)}\n"
        f"FROM json_to_recordset({text}::json) AS r (\n    {_wrapped(typed)}\n)) AS p"
    )


def columns_of(row: type) -> list[Column]:
    """The fields of a row type, in their order."""
    hints = get_type_hints(row, include_extras=True)
    return [Column(name, _sql_type(hint)) for name, hint in hints.items()]


def _sql_type(hint: Any) -> SqlType:
    """The type in SQL of a field, which may be None."""
    if get_origin(hint) is Annotated:
        [marked] = [note for note in hint.__metadata__ if isinstance(note, SqlType)]
        return marked
    parts = [part for part in get_args(hint) if part is not NoneType] or [hint]
    if parts != [hint]:
        return _sql_type(parts[0])
    if (found := _PLAIN.get(hint)) is not None:
        return found
    if isinstance(hint, NewType):
        return _sql_type(hint.__supertype__)
    raise TypeError(f"{hint}: no type of SQL is known for it")


def _wrapped(parts: list[str]) -> str:
    """A list with commas, in lines of at most 92 characters."""
    lines = [""]
    for number, part in enumerate(parts):
        piece = part if number == len(parts) - 1 else f"{part}, "
        if len(lines[-1]) + len(piece) > _WIDTH:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        lines[-1] += piece
    return "\n    ".join(lines)
