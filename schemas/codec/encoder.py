"""Encoders, generated from a schema: from a record's attributes straight to Avro's bytes.

An encoder accepts values of exactly the types that ``schemas/records.py`` names, and members of a
``StrEnum`` for text, and raises for everything else; fastavro decides whether such a value can be
written anyway (``schemas/codec``). So a generated encoder has to be right only where it
returns.

For ``Control`` it reads, in part::

    def encode_Control(_prefix, _record):
        if _record.__class__ is not Control: raise TypeError("Control")
        kind = _record.kind
        if kind.__class__ is not ControlKind: raise TypeError("kind")
        task_id = _record.task_id
        if task_id.__class__ is not str and not isinstance(task_id, StrEnum): raise ...
        task_id = task_id.encode()
        ...
        return JOIN((_prefix, ControlKind_SYMBOLS[kind], VARINTS[len(task_id) << 1], task_id, ...))
"""

from collections.abc import Callable
from enum import StrEnum
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
from schemas.codec.varint import VARINTS, write_long, write_timestamp

Encoder = Callable[[bytes, Any], bytes]
"""Takes the prefix and the record; returns both as bytes."""


def generate_encoder(schema: Any) -> Encoder:
    """Compile the encoder of a record.

    Args:
        schema: the parsed ``.avsc`` of the record, with its logical types.
    """
    namespace: dict[str, Any] = {
        "JOIN": b"".join,
        "VARINTS": VARINTS,
        "BOOLEANS": {False: b"\x00", True: b"\x01"},
        "STRING": _write_string,
        "LONG": write_long,
        "TIMESTAMP": write_timestamp,
        "StrEnum": StrEnum,
    }
    shape = record_shape_of(schema)
    _define(shape, namespace)
    encoder: Encoder = namespace[f"encode_{shape.name}"]
    return encoder


def _define(shape: RecordShape, namespace: dict[str, Any]) -> None:
    """Compile the function of a record, after those of the records in it."""
    name = shape.name
    if name in namespace:
        return
    namespace[name] = shape.record_type
    lines = [f"if _record.__class__ is not {name}: raise TypeError({name!r})"]
    pieces = ["_prefix"]
    for field, part in shape.fields:
        lines.append(f"{field} = _record.{field}")
        more_lines, more_pieces = _write(part, field, namespace)
        lines += more_lines
        pieces += more_pieces
    lines.append(f"return JOIN(({', '.join(pieces)}))")
    source = "\n    ".join([f"def encode_{name}(_prefix, _record):", *lines])
    exec(compile(source, f"<encoder of {name}>", "exec"), namespace)


def _write(shape: Shape, value: str, namespace: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Statements that prepare the variable ``value``, and the expressions of its pieces.

    All pieces but the first are variables.
    """
    match shape:
        case Primitive():
            return _write_primitive(shape, value)
        case Enumeration(members):
            enum = type(members[0])
            namespace[enum.__name__] = enum
            namespace[f"{enum.__name__}_SYMBOLS"] = {
                member: VARINTS[index << 1] for index, member in enumerate(members)
            }
            return [_refuse_unless(value, enum.__name__)], [f"{enum.__name__}_SYMBOLS[{value}]"]
        case Nullable(inner, null_branch):
            return _write_nullable(inner, value, null_branch, namespace)
        case Array(items):
            item = _call(items, "_item", namespace)
            return _write_blocks(value, "list", f"[{item} for _item in {value}]"), [value]
        case Map(values):
            entry = f"STRING(_key) + {_call(values, '_item', namespace)}"
            entries = f"[{entry} for _key, _item in {value}.items()]"
            return _write_blocks(value, "dict", entries), [value]
        case RecordShape(name=name):
            _define(shape, namespace)
            return [], [f"encode_{name}(b'', {value})"]


def _write_primitive(shape: Primitive, value: str) -> tuple[list[str], list[str]]:
    match shape.name:
        case "string":
            lines = [_refuse_unless_text(value), f"{value} = {value}.encode()"]
            return lines, [f"VARINTS[len({value}) << 1]", value]
        case "boolean":
            return [_refuse_unless(value, "bool")], [f"BOOLEANS[{value}]"]
    lines = [_refuse_unless(value, "int")]
    if shape.name == "int":
        # fastavro refuses such numbers within a union and writes them elsewhere.
        lines.append(f"if not -(2**31) <= {value} < 2**31: raise OverflowError({value!r})")
    zigzag = f"{value} << 1 ^ {value} >> 63"
    return lines, [f"TIMESTAMP({value})" if shape.timestamp else f"VARINTS[{zigzag}]"]


def _write_nullable(
    inner: Shape, value: str, null_branch: int, namespace: dict[str, Any]
) -> tuple[list[str], list[str]]:
    null, some = VARINTS[null_branch << 1], VARINTS[1 - null_branch << 1]
    head = f"_{value}_head"
    lines, (first, *rest) = _write(inner, value, namespace)
    if isinstance(inner, RecordShape):
        first = f"encode_{inner.name}({some!r}, {value})"
    else:
        first = f"{some!r} + {first}"
    empty = [f"{name} = b''" for name in rest]
    return [
        f"if {value} is None:",
        *[f"    {line}" for line in [f"{head} = {null!r}", *empty]],
        "else:",
        *[f"    {line}" for line in [*lines, f"{head} = {first}"]],
    ], [head, *rest]


def _write_blocks(value: str, python_type: str, entries: str) -> list[str]:
    """One block with all entries, then the empty block that ends every array and map."""
    whole = f"JOIN([VARINTS[len({value}) << 1], *{entries}, b'\\x00'])"
    return [
        _refuse_unless(value, python_type),
        f"{value} = {whole} if {value} else b'\\x00'",
    ]


def _call(shape: Shape, value: str, namespace: dict[str, Any]) -> str:
    """The expression of an item of an array or map."""
    match shape:
        case RecordShape(name=name):
            _define(shape, namespace)
            return f"encode_{name}(b'', {value})"
        case Primitive("string" | "long" as name):
            return f"{'STRING' if name == 'string' else 'LONG'}({value})"
    raise NotImplementedError(f"no encoder can be generated for a list of {shape}")


def _refuse_unless(value: str, python_type: str) -> str:
    return f"if {value}.__class__ is not {python_type}: raise TypeError({value!r})"


def _refuse_unless_text(value: str) -> str:
    # A member of an open vocabulary, such as a phase, is the text that it stands for.
    test = f"{value}.__class__ is not str and not isinstance({value}, StrEnum)"
    return f"if {test}: raise TypeError({value!r})"


def _write_string(value: str) -> bytes:
    if value.__class__ is not str:
        raise TypeError(value)
    encoded = value.encode()
    return VARINTS[len(encoded) << 1] + encoded
