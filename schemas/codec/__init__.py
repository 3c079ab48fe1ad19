"""Records to bytes and back: Confluent's wire format around Avro.

The decode boundary: for any bytes, :func:`decode` returns a record or raises
:class:`~schemas.errors.DecodeError` (or a subclass), and raises no other error.

Generated code does the work; values that it does not accept go to fastavro, which alone decides
what is an error (docs/adr/0006).
"""

import struct
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from typing import Any, TypeVar

import fastavro
import msgspec

from schemas.codec.decoder import Decoder, generate_decoder
from schemas.codec.encoder import Encoder, generate_encoder
from schemas.errors import (
    DecodeError,
    EncodeError,
    MagicUnknownError,
    RecordTooLargeError,
    SchemaUnknownError,
)
from schemas.limits import EVENT_MAX_BYTES
from schemas.records import WIRE_RECORDS, Record
from schemas.registry import SchemaVersion, load_versions

R = TypeVar("R", bound=Record)

_HEADER = struct.Struct(">bI")  # magic byte, schema id (big endian)
_MAGIC = 0


def encode(record: Record) -> bytes:
    """Encode a record with the newest version of its schema that is written.

    Raises:
        EncodeError: a field has a value that the schema does not allow (an int beyond 64 bits,
            text with a lone surrogate). Nothing was written; the record is faulty.
    """
    name = type(record).__name__
    frame, version = _WRITERS[name]
    encoder = _encoder(version.id)
    try:
        return encoder(frame, record)
    # This need not be the record's fault: fastavro accepts more than the exact types.
    except (ValueError, TypeError, OverflowError, AttributeError, KeyError):
        return _encode_by_fastavro(frame, _PARSED[version.id], record)


def decode(value: bytes | None, record_type: type[R], *, max_bytes: int = EVENT_MAX_BYTES) -> R:
    """Decode a record value, of any published version, as ``record_type``.

    Args:
        value: the value in Kafka; None is a tombstone, which no topic of ours decodes.
        record_type: the record that this topic holds.
        max_bytes: a longer value is not read at all.

    Raises:
        DecodeError: or one of its subclasses; the record cannot be read by any process and
            belongs in the dead-letter topic.

    Source of the format: Confluent Schema Registry, "Wire format".
    """
    if value is None:
        raise DecodeError("the value is null")
    if len(value) > max_bytes:
        raise RecordTooLargeError(f"the value has {len(value)} bytes, at most {max_bytes} may be")
    name = record_type.__name__
    schema_id = _schema_id(value)
    version = _READERS[name].get(schema_id)
    if version is None:
        raise SchemaUnknownError(f"schema id {schema_id} is not a version of {name}")
    record = _decode_generated(value, version, record_type)
    if record is not None:
        return record
    writer, reader = _PARSED[version.id], _PARSED[_NEWEST[name].id]
    return _decode_by_fastavro(value[_HEADER.size :], writer, reader, record_type)


def bytes_understood(value: bytes, record_type: type[Record]) -> int:
    """How many leading bytes of an undecodable value can be decoded: where it broke.

    If the value is a record followed by excess bytes, the count ends with the record.
    """
    try:
        schema_id, _ = unframe(value)
    except MagicUnknownError:
        return 0
    version = _READERS[record_type.__name__].get(schema_id)
    if version is None:
        return 1
    stream = BytesIO(value)
    stream.seek(_HEADER.size)
    try:
        fastavro.schemaless_reader(stream, _PARSED[version.id], None)
    except Exception:
        return stream.tell()
    return stream.tell()


def adopt_ids(ids: Mapping[tuple[str, int], int]) -> None:
    """Use the schema ids of a registry to write from now on, and read them beside ours.

    Applies to the whole process, so call it at the start; a second call replaces the first.

    Args:
        ids: by record and version; versions that are not named keep our ids.

    Raises:
        SchemaUnknownError: the registry gave one of our ids to another version of the same
            record, so that the two could not be distinguished. Nothing was changed.
    """
    readers = {name: dict(versions) for name, versions in _OURS.items()}
    writers = {}
    for version in _VERSIONS:
        adopted = ids.get((version.record, version.version), version.id)
        known = readers[version.record].setdefault(adopted, version)
        if known is not version:
            raise SchemaUnknownError(
                f"the registry's id {adopted} of {version.record} {version.version} "
                "is our id of another version"
            )
        if version.written:
            writers[version.record] = (_HEADER.pack(_MAGIC, adopted), version)
    _READERS.update(readers)
    _WRITERS.update(writers)


def unframe(value: bytes) -> tuple[int, bytes]:
    """Split a value into its schema id (0 .. 2**32 - 1) and its Avro body.

    Raises:
        MagicUnknownError: shorter than 5 bytes, or the first byte is not 0.
    """
    return _schema_id(value), value[_HEADER.size :]


def _schema_id(value: bytes) -> int:
    if len(value) < _HEADER.size:
        raise MagicUnknownError(f"the value has {len(value)} bytes, a framed one has at least 5")
    magic: int
    schema_id: int
    magic, schema_id = _HEADER.unpack_from(value)
    if magic != _MAGIC:
        raise MagicUnknownError(f"the magic byte is {magic}, expected {_MAGIC}")
    return schema_id


def _decode_generated(value: bytes, version: SchemaVersion, record_type: type[R]) -> R | None:
    """The record; None for bytes that fastavro has to check.

    Fields that the version does not have get the defaults of the type, which are the schema's.
    """
    try:
        record, end = _decoder(version.id)(value, _HEADER.size)
    # Hostile bytes. The error is not lost: fastavro reads them next and reports what is wrong.
    except Exception:
        return None
    return record if end == len(value) and isinstance(record, record_type) else None


def _encode_by_fastavro(frame: bytes, schema: Any, record: Record) -> bytes:
    out = BytesIO()
    out.write(frame)
    try:
        fastavro.schemaless_writer(out, schema, msgspec.to_builtins(record))
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise EncodeError(f"{type(record).__name__}: {error}") from error
    return out.getvalue()


def _decode_by_fastavro(body: bytes, writer: Any, reader: Any, record_type: type[R]) -> R:
    stream = BytesIO(body)
    try:
        fields = fastavro.schemaless_reader(stream, writer, reader, handle_unicode_errors="strict")
        record = msgspec.convert(fields, record_type)
    # The boundary: on hostile bytes a decoder fails in more ways than can be listed, and each
    # of them means the same to the caller.
    except Exception as error:
        raise DecodeError(f"{record_type.__name__}: {type(error).__name__}: {error}") from error
    if stream.tell() != len(body):
        raise DecodeError(f"{len(body) - stream.tell()} bytes follow the record")
    return record


@cache
def _encoder(version_id: int) -> Encoder:
    """Compiled when a process first writes the record: most processes write few records."""
    return generate_encoder(_BY_ID[version_id].schema)


@cache
def _decoder(version_id: int) -> Decoder:
    return generate_decoder(_BY_ID[version_id].schema)


def _without_logical_types(schema: Any) -> Any:
    """The same schema with plain longs for times: ours are ints without a time zone."""
    if isinstance(schema, dict):
        return {k: _without_logical_types(v) for k, v in schema.items() if k != "logicalType"}
    if isinstance(schema, list):
        return [_without_logical_types(item) for item in schema]
    return schema


def _parse(version: SchemaVersion) -> Any:
    return fastavro.parse_schema(_without_logical_types(version.schema))


_VERSIONS = load_versions()
_NEWEST = {version.record: version for version in _VERSIONS}
_PARSED = {version.id: _parse(version) for version in _VERSIONS}
_BY_ID = {version.id: version for version in _VERSIONS}
_OURS: dict[str, dict[int, SchemaVersion]] = {}
for _version in _VERSIONS:
    _OURS.setdefault(_version.record, {})[_version.id] = _version
_READERS: dict[str, dict[int, SchemaVersion]] = {}
"""By record and schema id: the writer's version."""
_WRITERS: dict[str, tuple[bytes, SchemaVersion]] = {}
"""By record: the frame of the newest version that is written, and the version."""
adopt_ids({})

if set(_WRITERS) != {record.__name__ for record in WIRE_RECORDS}:
    raise ImportError("schemas/avro/lock.json and schemas/records.py list different records")
