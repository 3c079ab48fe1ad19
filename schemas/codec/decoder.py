"""Decoders, generated from a schema: from Avro's bytes straight to a typed record.

A decoder accepts what a plain writer of the same schema writes and raises for everything else;
fastavro decides whether such bytes are a record anyway (``schemas/codec``). So a generated
decoder has to be right only where it returns. Its errors have no meaning.

Slices silently stop at the end of the data, but positions go on: a decoder that read more than
there is returns a position past the end, and its caller compares. A decoder allocates nothing for
a size that the data claims, and every item takes at least a byte, so a large count cannot keep
a decoder busy past the end of the data.

For ``Control`` it reads, in part::

    def decode_Control(_data, _at):
        kind = ControlKind_SYMBOLS[_data[_at]]
        _at += 1
        _size = _data[_at]
        if _size & 129: _size, _start = SIZE(_data, _at); _at = _start + _size
        else: _start = _at + 1; _at = _start + (_size >> 1)
        task_id = _data[_start:_at].decode()
        ...
        return Control(kind=kind, task_id=task_id, ...), _at
"""

from collections.abc import Callable
from typing import Any

from schemas.codec.shapes import (
    Array,
    Enumeration,
    Map,
    Nullable,
    Primitive,
    RecordShape,
    Shape,
    record_shape_of,
)
from schemas.codec.varint import read_long, read_size, read_timestamp
from schemas.records import Record

Decoder = Callable[[bytes, int], tuple[Record, int]]
"""Takes data and the record's start; returns the record and its end."""


def generate_decoder(schema: Any) -> Decoder:
    """Compile the decoder of a record.

    Args:
        schema: the parsed ``.avsc`` of the record, with its logical types.
    """
    namespace: dict[str, Any] = {
        "LONG": read_long,
        "TIMESTAMP": read_timestamp,
        "SIZE": read_size,
        "SMALL": _SMALL,
    }
    shape = record_shape_of(schema)
    _define(shape, namespace)
    decoder: Decoder = namespace[f"decode_{shape.name}"]
    return decoder


def _define(shape: RecordShape, namespace: dict[str, Any]) -> None:
    """Compile the function of a record, after those of the records in it."""
    name = shape.name
    if name in namespace:
        return
    namespace[name] = shape.record_type
    lines: list[str] = []
    for field, part in shape.fields:
        lines += _read(part, field, namespace)
    arguments = ", ".join(f"{field}={field}" for field, _ in shape.fields)
    lines.append(f"return {name}({arguments}), _at")
    source = "\n    ".join([f"def decode_{name}(_data, _at):", *lines])
    exec(compile(source, f"<decoder of {name}>", "exec"), namespace)


def _read(shape: Shape, target: str, namespace: dict[str, Any]) -> list[str]:
    """Statements that set the variable ``target`` and move ``_at`` to the end of the value."""
    match shape:
        case Primitive():
            return _read_primitive(shape, target)
        case Enumeration(members):
            symbols = f"{type(members[0]).__name__}_SYMBOLS"
            # By the first byte: an index of up to 64 symbols takes one byte.
            namespace[symbols] = dict(zip(range(0, 128, 2), members, strict=False))
            return [f"{target} = {symbols}[_data[_at]]", "_at += 1"]
        case Nullable(inner, null_branch):
            return [
                "_branch = _data[_at]",
                "_at += 1",
                f"if _branch == {null_branch << 1}: {target} = None",
                f"elif _branch == {1 - null_branch << 1}:",
                *_indented(_read(inner, target, namespace)),
                f"else: raise ValueError({target!r})",
            ]
        case Array(items):
            add = [*_read(items, "_item", namespace), f"{target}.append(_item)"]
            return [f"{target} = []", *_read_blocks(add)]
        case Map(values):
            entry = [
                *_read(Primitive("string"), "_key", namespace),
                *_read(values, f"{target}[_key]", namespace),
            ]
            return [f"{target} = {{}}", *_read_blocks(entry)]
        case RecordShape(name=name):
            _define(shape, namespace)
            return [f"{target}, _at = decode_{name}(_data, _at)"]


def _read_primitive(shape: Primitive, target: str) -> list[str]:
    match shape.name:
        case "string":
            return [
                "_size = _data[_at]",
                "if _size & 129: _size, _start = SIZE(_data, _at); _at = _start + _size",
                "else: _start = _at + 1; _at = _start + (_size >> 1)",
                f"{target} = _data[_start:_at].decode()",
            ]
        case "boolean":
            return [f"{target} = _data[_at] != 0", "_at += 1"]
    if shape.timestamp:
        return [f"{target}, _at = TIMESTAMP(_data, _at)"]
    return [
        f"{target} = SMALL[_data[_at]]",
        f"if {target} is None: {target}, _at = LONG(_data, _at)",
        "else: _at += 1",
    ]


def _read_blocks(entry: list[str]) -> list[str]:
    return [
        "while _data[_at]:",
        "    _count, _at = SIZE(_data, _at)",
        "    for _ in range(_count):",
        *_indented(_indented(entry)),
        "_at += 1",
    ]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


_SMALL = tuple(n >> 1 ^ -(n & 1) if n < 128 else None for n in range(256))
"""By the first byte: the number that this byte alone encodes."""
