"""How large an event or a state is at most, before it is encoded."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import astuple

from schemas.records import Json


def bytes_at_most(document: object) -> int:
    """An upper bound of the size of an event, or of a part of it, as Avro and as JSON.

    It is the size of the JSON, which is never smaller than the Avro: a field's name is longer than
    Avro's length or union prefix, digits are longer than a varint, and escapes only make a string
    longer. For a snapshot, which is JSON, the size is exact.
    """
    return len(msgspec.json.encode(document))


def fits(document: object, max_bytes: int, *largest: Json | None) -> bool:
    """Whether :func:`bytes_at_most` is within a limit; large documents are seldom encoded for it.

    Args:
        document: records of ours, and tuples, lists and mappings of records and JSON texts.
        max_bytes: the limit, inclusive.
        largest: the texts in it that may be large. Small ones are sooner encoded than estimated.
    """
    large = sum(len(text) for text in largest if text is not None) > _LARGE_CHARS
    return (large and _rough(document) <= max_bytes) or bytes_at_most(document) <= max_bytes


def _rough(document: Any) -> int:
    """Never smaller than the size of the JSON."""
    if isinstance(document, str):
        # In JSON text, which is escaped once more here, control characters are white space: they
        # and quotes get a second byte. A character outside of ASCII has up to four.
        return _FRAME + (2 if document.isascii() else 4) * len(document)
    if isinstance(document, msgspec.Struct):
        return _FRAME + sum(map(_rough_field, document.__struct_fields__, astuple(document)))
    if isinstance(document, Mapping):
        return _FRAME + sum(_text(key) + _rough(value) for key, value in document.items())
    if isinstance(document, list | tuple):
        return _FRAME + sum(map(_rough, document))
    return _NUMBER


def _rough_field(name: str, value: Any) -> int:
    is_text = isinstance(value, str) and name not in _DOCUMENTS
    return _text(name) + (_text(value) if is_text else _rough(value))


def _text(text: str) -> int:
    # Any text: a control character becomes an escape of six bytes.
    return _FRAME + 6 * len(text)


_DOCUMENTS = frozenset({"input", "output", "metadata"})
"""The fields that hold JSON text; mappings and tuples hold nothing else."""
_LARGE_CHARS = 16_384
_FRAME = 8
"""Quotes, brackets, a colon and a comma."""
_NUMBER = 32
"""The longest number of 64 bits, a double, or null."""
