"""What fastavro makes of a record, and any record that a schema allows."""

import io
import struct
from typing import Any

import fastavro
import msgspec
from hypothesis import strategies as st

from schemas import records
from schemas.records import Record
from schemas.registry import SchemaVersion, load_versions

NEWEST: dict[str, SchemaVersion] = {version.record: version for version in load_versions()}

TEXT = st.text(st.characters(codec="utf-8"), max_size=8) | st.just("é" * 33)
INTS = st.integers(-(2**31), 2**31 - 1) | st.integers(-70, 70)
LONGS = st.integers(-(2**63), 2**63 - 1) | INTS


def frame_of(name: str) -> bytes:
    return struct.pack(">bI", 0, NEWEST[name].id)


def fastavro_bytes(record: Record) -> bytes | None:
    """The body; None if fastavro refuses the record."""
    out = io.BytesIO()
    try:
        plain = msgspec.to_builtins(record)
        fastavro.schemaless_writer(out, _PARSED[type(record).__name__], plain)
    except (ValueError, TypeError, OverflowError, AttributeError):
        return None
    return out.getvalue()


def fastavro_record(body: bytes, record_type: type[Record]) -> Record | None:
    """The record that is the whole body; None if fastavro finds none."""
    stream = io.BytesIO(body)
    try:
        fields = fastavro.schemaless_reader(stream, _PARSED[record_type.__name__], None)
        record = msgspec.convert(fields, record_type)
    except Exception:  # hostile bytes fail in many ways
        return None
    return record if stream.tell() == len(body) else None


def any_record(name: str) -> st.SearchStrategy[Any]:
    """Values of a record, over all that its newest schema allows."""
    return _values(NEWEST[name].schema, {})


def _values(schema: Any, named: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    match schema:
        case str():
            return {**_PRIMITIVES, **named}[schema]
        case list():
            return st.one_of([_values(branch, named) for branch in schema])
        case {"type": "array"}:
            return st.lists(_values(schema["items"], named), max_size=3)
        case {"type": "map"}:
            return st.dictionaries(TEXT, _values(schema["values"], named), max_size=3)
        case {"type": "enum"}:
            named[schema["name"]] = st.sampled_from(getattr(records, schema["name"]))
            return named[schema["name"]]
        case {"type": "record"}:
            fields = {field["name"]: _values(field["type"], named) for field in schema["fields"]}
            named[schema["name"]] = st.builds(getattr(records, schema["name"]), **fields)
            return named[schema["name"]]
    return _values(schema["type"], named)


def without_logical_types(schema: Any) -> Any:
    """The schema with plain longs for times: a number is one also where the calendar ends."""
    if isinstance(schema, list):
        return [without_logical_types(part) for part in schema]
    if isinstance(schema, dict):
        return {
            name: without_logical_types(part)
            for name, part in schema.items()
            if name != "logicalType"
        }
    return schema


_PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "string": TEXT,
    "int": INTS,
    "long": LONGS,
    "boolean": st.booleans(),
}
_PARSED = {
    name: fastavro.parse_schema(without_logical_types(v.schema)) for name, v in NEWEST.items()
}
