"""The shape of an Avro schema, as the generators of encoders and decoders need it.

Covers the part of Avro that our records use. A schema that needs more is refused, so that the
author of a new type in a record also adds it here.
"""

from dataclasses import dataclass
from typing import Any

from schemas import records


@dataclass(frozen=True, slots=True)
class Primitive:
    """A value without parts."""

    name: str
    """``string``, ``int``, ``long`` or ``boolean``."""
    timestamp: bool = False
    """True: a long of six bytes, except for times before 1987 and after 2109."""


@dataclass(frozen=True, slots=True)
class Enumeration:
    """A symbol, written as its index."""

    members: tuple[Any, ...]
    """The members of our own enum, in the order of the schema's symbols."""


@dataclass(frozen=True, slots=True)
class Nullable:
    """A union of null and one other branch."""

    value: "Shape"
    null_branch: int
    """0 or 1: the index of null in the union; the value has the other index."""


@dataclass(frozen=True, slots=True)
class Array:
    """A list."""

    items: "Shape"


@dataclass(frozen=True, slots=True)
class Map:
    """A dict with text as keys."""

    values: "Shape"


@dataclass(frozen=True, slots=True)
class RecordShape:
    """A record with its fields in the order of the wire."""

    record_type: type[records.Record]
    fields: tuple[tuple[str, "Shape"], ...]

    @property
    def name(self) -> str:
        """The name without the namespace."""
        return self.record_type.__name__


Shape = Primitive | Enumeration | Nullable | Array | Map | RecordShape


def shape_of(schema: Any, named: dict[str, Shape] | None = None) -> Shape:
    """Read a parsed ``.avsc``.

    Args:
        schema: a schema or a part of one.
        named: the records and enums that were defined before this part, by their names.

    Raises:
        NotImplementedError: the schema uses a part of Avro that no record of ours uses.
    """
    named = {} if named is None else named
    match schema:
        case "string" | "int" | "long" | "boolean":
            return Primitive(schema)
        case {"type": "long", "logicalType": "timestamp-millis"}:
            return Primitive("long", timestamp=True)
        case str() if schema in named:
            return named[schema]
        case ["null", value]:
            return Nullable(shape_of(value, named), null_branch=0)
        case [value, "null"]:
            return Nullable(shape_of(value, named), null_branch=1)
        case {"type": "array", "items": items}:
            return Array(shape_of(items, named))
        case {"type": "map", "values": values}:
            return Map(shape_of(values, named))
        case {"type": "enum" | "record", "name": str(name)}:
            named[name] = _named(schema, named)
            return named[name]
    raise NotImplementedError(f"no encoder can be generated for {schema}")


def record_shape_of(schema: Any) -> RecordShape:
    """Read the ``.avsc`` of a record."""
    shape = shape_of(schema)
    if not isinstance(shape, RecordShape):
        raise NotImplementedError(f"{shape} is not a record")
    return shape


def _named(schema: Any, named: dict[str, Shape]) -> Shape:
    python_type = getattr(records, schema["name"])
    if schema["type"] == "enum":
        return Enumeration(tuple(python_type(symbol) for symbol in schema["symbols"]))
    fields = tuple((field["name"], shape_of(field["type"], named)) for field in schema["fields"])
    if not fields:
        # A list of items that take no byte could claim any length.
        raise NotImplementedError(f"{schema['name']} has no fields")
    return RecordShape(python_type, fields)
