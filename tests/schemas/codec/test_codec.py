"""The decode boundary: it returns a record or raises our own error, whatever comes in."""

import contextlib
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import bytes_understood, decode, encode, unframe
from schemas.errors import (
    DecodeError,
    EncodeError,
    MagicUnknownError,
    RecordTooLargeError,
    SchemaUnknownError,
)
from schemas.records import (
    WIRE_RECORDS,
    Json,
    Millis,
    Record,
    TaskCreated,
    TaskEvent,
    TaskId,
)
from schemas.registry import load_versions

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
LONGS = st.integers(-(2**63), 2**63 - 1)


def a_task_created(**changes: Any) -> TaskCreated:
    record = TaskCreated(
        task_id=TaskId("task_1"),
        tenant_id="acme",
        type="rag",
        input=Json('{"query": "why?"}'),
        created_at=Millis(1_700_000_000_000),
    )
    return msgspec.structs.replace(record, **changes)


@given(record=st.builds(a_task_created, input=TEXT, user_id=st.none() | TEXT, created_at=LONGS))
def test_a_record_survives_encoding(record: TaskCreated) -> None:
    assert decode(encode(record), TaskCreated) == record


@pytest.mark.parametrize("kind", WIRE_RECORDS, ids=lambda kind: kind.__name__)
def test_no_bytes_raise_anything_but_our_own_error(kind: type[Record]) -> None:
    schema_id = next(v.id for v in load_versions() if v.record == kind.__name__)

    @settings(max_examples=200, deadline=None)
    @given(body=st.binary(max_size=200), framed=st.booleans())
    def attempt(body: bytes, framed: bool) -> None:
        value = struct.pack(">bI", 0, schema_id) + body if framed else body
        with contextlib.suppress(DecodeError):
            decode(value, kind)

    attempt()


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 200), byte=st.integers(0, 255))
def test_a_damaged_record_raises_our_own_error_or_is_another_record(
    position: int, byte: int
) -> None:
    value = bytearray(encode(a_task_created()))
    value[position % len(value)] = byte
    with contextlib.suppress(DecodeError):
        decode(bytes(value), TaskCreated)


def test_every_truncation_of_a_record_is_refused() -> None:
    value = encode(a_task_created())
    for length in range(len(value)):
        with pytest.raises(DecodeError):
            decode(value[:length], TaskCreated)


def test_bytes_after_the_record_are_refused() -> None:
    with pytest.raises(DecodeError, match="1 bytes follow"):
        decode(encode(a_task_created()) + b"x", TaskCreated)


def test_a_null_value_is_refused() -> None:
    with pytest.raises(DecodeError, match="null"):
        decode(None, TaskCreated)


@pytest.mark.parametrize("value", [b"", b"\x00\x00", b"\x01\x00\x00\x00\x65rest"])
def test_a_value_without_our_frame_is_refused_with_its_own_code(value: bytes) -> None:
    with pytest.raises(MagicUnknownError):
        unframe(value)


def test_an_unknown_schema_id_is_refused_with_its_own_code() -> None:
    with pytest.raises(SchemaUnknownError):
        decode(struct.pack(">bI", 0, 999_999) + b"abc", TaskCreated)


def test_the_schema_of_another_record_is_refused() -> None:
    with pytest.raises(SchemaUnknownError):
        decode(encode(a_task_created()), TaskEvent)


def test_a_value_over_the_limit_is_not_read() -> None:
    value = encode(a_task_created(input=Json("x" * 2000)))

    with pytest.raises(RecordTooLargeError):
        decode(value, TaskCreated, max_bytes=1000)


@pytest.mark.parametrize("changes", [{"input": "\ud800"}, {"created_at": 2**63}])
def test_what_a_schema_cannot_hold_is_refused_by_the_encoder(changes: dict[str, Any]) -> None:
    with pytest.raises(EncodeError):
        encode(a_task_created(**changes))


def test_text_that_is_not_utf8_is_refused() -> None:
    value = encode(a_task_created()).replace(b"acme", b"ac\xffe")

    with pytest.raises(DecodeError):
        decode(value, TaskCreated)


def test_the_place_where_a_value_stops_making_sense_is_known() -> None:
    task = encode(TaskCreated(task_id=TaskId("t"), tenant_id="a", created_at=Millis(0)))

    assert bytes_understood(b"\x07", TaskCreated) == 0
    assert bytes_understood(b"\x00\x00\x0f\x42\x3f", TaskCreated) == 1
    assert bytes_understood(task + b"more", TaskCreated) == len(task)
    # The second field says that it is 63 bytes long.
    assert 5 < bytes_understood(task[:7] + b"\x7e", TaskCreated) <= 8
