"""Records, messages, rows and headers in which every text is a stranger's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from schemas.records import Json, Millis, Record

EVIL = (
    "\x1b[31m\x1b]0;title\x07\x9b2J\x85\u202egpj\u2066\u200b\u2028[/x][bold]:bug:[link=file:///]"
    "\r\nerror FORGED: it\tall\x0b\x08\x7f"
)
"""What a terminal acts on, rich markup and a picture of rich, and a line that is not ours."""
LONG = EVIL + "[bold]" + "L" * 8192
DOCUMENT = json.dumps({LONG: [EVIL + "\x00", {"inner": LONG}]})
NOW = 1_790_000_000_000
_TEXT_BYTES = EVIL.encode() + b"\xff\x00\xc3"


def evil(kind: Any, text: str = LONG) -> Any:
    """A value of a type: a stranger's text wherever a text may be."""
    if kind is Json or kind is Json | None:
        return DOCUMENT
    if kind is Millis or kind is Millis | None:
        return NOW
    kind = getattr(kind, "__supertype__", kind)
    arguments = [a for a in get_args(kind) if a is not type(None)]
    if get_origin(kind) is list:
        return [evil(arguments[0], text)]
    if get_origin(kind) is dict:
        return {text: evil(arguments[1], text)}
    if arguments:
        return evil(arguments[0], text)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return list(kind)[-1]
    if isinstance(kind, type) and issubclass(kind, Record):
        return evil_record(kind, text)
    return {str: text, int: 1, bool: False}[kind]


def evil_record(kind: type[Any], text: str = LONG, /, **fixed: Any) -> Any:
    """A record of a topic."""
    hints = get_type_hints(kind)
    names = [field.name for field in msgspec.structs.fields(kind)]
    return kind(**{name: evil(hints[name], text) for name in names} | fixed)


def evil_message(message: Message, text: str = LONG, depth: int = 0) -> Any:
    """An answer of a service, filled in place."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            if depth > 4:
                continue
            place = getattr(message, field.name)
            if field.is_repeated:
                evil_message(place.add(), text, depth + 1)
            elif field.message_type.full_name == "google.protobuf.Timestamp":
                place.FromMilliseconds(NOW)
            else:
                place.SetInParent()
                evil_message(place, text, depth + 1)
        elif field.type == FieldDescriptor.TYPE_STRING:
            value = DOCUMENT if field.name in ("input", "output", "metadata", "substeps") else text
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
        elif field.type in (FieldDescriptor.TYPE_ENUM, FieldDescriptor.TYPE_BOOL):
            setattr(message, field.name, 3 if field.type == FieldDescriptor.TYPE_ENUM else False)
        elif not field.is_repeated:
            setattr(message, field.name, 1)
    return message


def evil_headers(names: Iterable[str]) -> list[tuple[str, bytes]]:
    """Headers of a dead letter: their values, and one whose name is a stranger's, too."""
    found = [(name, _TEXT_BYTES + b"L" * 8192) for name in names]
    return [*found, (EVIL, _TEXT_BYTES)]


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table, as the catalogue describes it."""

    name: str
    kind: str
    most: int | None
    """The most characters of a text."""

    def value(self) -> str:
        """An SQL literal. Postgres keeps neither NUL nor halves of characters."""
        if self.kind in ("text", "character varying"):
            return _literal((LONG if self.most is None else EVIL)[: self.most])
        if self.kind == "jsonb":
            return _literal(json.dumps({LONG: [{"name": EVIL, "code": EVIL}]})) + "::jsonb"
        if self.kind.startswith(("timestamp", "date")):
            return "now()"
        return {"boolean": "false", "bytea": "'\\x00ff'::bytea"}.get(self.kind, "1")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
