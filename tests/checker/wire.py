"""Records as Kafka keeps them, and their values by the schema files alone."""

import io
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
from aiokafka.partitioner import murmur2

Value = dict[str, Any]
Headers = tuple[tuple[str, bytes | None], ...]
Position = tuple[str, int, int]
"""Topic, partition, offset."""

_AVRO = Path(__file__).parents[2] / "schemas" / "avro"


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as it is in the log."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: Headers = field(repr=False, default=())

    @property
    def position(self) -> Position:
        return self.topic, self.partition, self.offset

    def header(self, name: str) -> str | None:
        """The last value of a header as text; None if there is none."""
        found = [value for key, value in self.headers if key == name and value is not None]
        return found[-1].decode(errors="replace") if found else None


def home_of(key: bytes, partitions: int) -> int:
    """The partition of a key in the Java client's rule."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def decode(value: bytes | None, name: str) -> Value | None:
    """A value as a record of this name, times as integers; None if it is none."""
    if value is None or len(value) < 5:
        return None
    magic, schema_id = struct.unpack(">bI", value[:5])
    writer = WRITERS.get(schema_id)
    if magic != 0 or writer is None or writer[0] != name:
        return None
    body = io.BytesIO(value[5:])
    try:
        record: Any = fastavro.schemaless_reader(
            body, writer[1], NEWEST[name][1], handle_unicode_errors="strict"
        )
    except Exception:  # whatever is wrong with the bytes: they are no such record
        return None
    return record if body.tell() == len(value) - 5 else None


def encode(record: Value, name: str) -> bytes:
    """The bytes of a record, for the tests of the checker."""
    schema_id, schema = NEWEST[name]
    out = io.BytesIO()
    out.write(struct.pack(">bI", 0, schema_id))
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def _plain(schema: Any) -> Any:
    """The schema with times as plain integers."""
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema


def _load() -> tuple[dict[int, tuple[str, Any]], dict[str, tuple[int, Any]]]:
    writers, newest = {}, {}
    for name, versions in json.loads((_AVRO / "lock.json").read_text()).items():
        for version in versions:
            path = _AVRO / "history" / f"{name}.{version['version']}.avsc"
            schema = fastavro.parse_schema(_plain(json.loads(path.read_text())))
            writers[version["id"]] = (name, schema)
            newest[name] = (version["id"], schema)
    return writers, newest


WRITERS, NEWEST = _load()
