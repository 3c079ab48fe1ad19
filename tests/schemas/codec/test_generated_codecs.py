"""Generated encoders and decoders do what fastavro does, byte for byte, also when it refuses."""

from enum import IntEnum
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.codec import decode, encode
from schemas.codec.decoder import generate_decoder
from schemas.codec.encoder import generate_encoder
from schemas.codec.shapes import record_shape_of
from schemas.errors import DecodeError, EncodeError
from schemas.records import (
    WIRE_RECORDS,
    DeadLetterAction,
    DeadLetterItem,
    DispatchedStep,
    Error,
    Lane,
    Record,
    StepOutcome,
    StepResult,
    SubStep,
    TaskEvent,
    TaskSpec,
    Usage,
)
from tasks.effects import SendStep
from tests.schemas.codec.reference import (
    NEWEST,
    any_record,
    fastavro_bytes,
    fastavro_record,
    frame_of,
)
from tests.tasks.builders import BAD_INPUT, a_life

ENCODERS = {name: generate_encoder(version.schema) for name, version in NEWEST.items()}
DECODERS = {name: generate_decoder(version.schema) for name, version in NEWEST.items()}

each_record = pytest.mark.parametrize("kind", WIRE_RECORDS, ids=lambda kind: kind.__name__)
few = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@each_record
def test_an_encoder_writes_what_fastavro_writes(kind: type[Record]) -> None:
    name = kind.__name__

    @few
    @given(record=any_record(name))
    def attempt(record: Record) -> None:
        body = fastavro_bytes(record)

        assert ENCODERS[name](b"", record) == body
        assert encode(record) == frame_of(name) + (body or b"")

    attempt()


def test_what_the_owner_of_a_task_writes_needs_no_fastavro() -> None:
    life = a_life()
    life.started()
    life.failed()
    life.failed(BAD_INPUT)
    commands = [e.command for made in life.effects for e in made if isinstance(e, SendStep)]

    for record in [*life.events, *commands]:
        encoded = ENCODERS[type(record).__name__](b"", record)

        assert encoded == fastavro_bytes(record)


@each_record
def test_a_decoder_reads_what_fastavro_wrote(kind: type[Record]) -> None:
    name = kind.__name__

    @few
    @given(record=any_record(name))
    def attempt(record: Record) -> None:
        body = fastavro_bytes(record) or b""
        read, end = DECODERS[name](body, 0)

        # Text equals an enum's member by value; what is shown tells them apart.
        assert (repr(read), end) == (repr(record), len(body))
        assert repr(decode(frame_of(name) + body, kind)) == repr(record)

    attempt()


@each_record
def test_a_decoder_and_fastavro_agree_about_a_value_that_is_cut_anywhere(
    kind: type[Record],
) -> None:
    @settings(few, max_examples=3)
    @given(record=any_record(kind.__name__))
    def attempt(record: Record) -> None:
        body = fastavro_bytes(record) or b""
        for length in range(len(body)):
            assert_they_agree(body[:length], kind)

    attempt()


@each_record
def test_a_decoder_and_fastavro_agree_about_any_bytes(kind: type[Record]) -> None:
    @settings(few, max_examples=80)
    @given(body=st.binary(max_size=200) | st.lists(NUMBERS, max_size=60).map(b"".join))
    def attempt(body: bytes) -> None:
        assert_they_agree(body, kind)

    attempt()


@each_record
def test_a_decoder_and_fastavro_agree_about_a_damaged_value(kind: type[Record]) -> None:
    @settings(few, max_examples=80)
    @given(
        record=any_record(kind.__name__),
        place=st.integers(0, 2000),
        removed=st.integers(0, 3),
        put=st.binary(max_size=4) | NUMBERS,
    )
    def attempt(record: Record, place: int, removed: int, put: bytes) -> None:
        body = fastavro_bytes(record) or b""
        place %= len(body)
        assert_they_agree(body[:place] + put + body[place + removed :], kind)

    attempt()


def test_a_decoder_and_fastavro_agree_about_each_byte_of_a_value() -> None:
    record = StepResult(
        command_id="c",  # type: ignore[arg-type]
        task_id="t",  # type: ignore[arg-type]
        tenant_id="a",
        error=Error(service="s"),
        usage=Usage(input_tokens=70),
        substeps=[SubStep(started_at=1)],  # type: ignore[arg-type]
        started_at=1_700_000_000_000,  # type: ignore[arg-type]
    )
    body = fastavro_bytes(record) or b""
    for place in range(len(body)):
        for wrong in range(256):
            assert_they_agree(body[:place] + bytes([wrong]) + body[place + 1 :], StepResult)


def assert_they_agree(body: bytes, kind: type[Record]) -> None:
    expected = fastavro_record(body, kind)
    try:
        found: Record | None = decode(frame_of(kind.__name__) + body, kind)
    except DecodeError:
        found = None
    assert repr(found) == repr(expected), body


class AnInt(int):
    pass


class AText(str):
    __slots__ = ()


class AnIntEnum(IntEnum):
    ONE = 1


WRONG: list[Any] = [
    *[None, True, False, 0, 1.0, 1.5, -1, 2**31, -(2**31) - 1, 2**63, -(2**63) - 1, 2**200],
    *[
        "",
        "high",
        "unknown",
        "\ud800",
        b"",
        b"x",
        Lane.HIGH,
        AnIntEnum.ONE,
        AnInt(1),
        AText("high"),
    ],
    *[
        ("string", "x"),
        ("null", None),
        (),
        ("a",),
        [],
        ["a"],
        [None],
        [1],
        {},
        {"a": "b"},
        {"a": 1},
    ],
    *[{1: "a"}, {"code": "X"}, {"\ud800": "a"}, {Lane.HIGH: 1}, {"a": True}, set(), object(), int],
    *[Error(), Usage(), [Error()], [Usage(), None], (Error(),), float("nan"), {"a": 2**63}],
]


def a_part_in(part: Record) -> Record:
    """The smallest wire record around a part, or the record itself."""
    result = msgspec.convert(SMALLEST["StepResult"], StepResult)
    event = msgspec.convert(SMALLEST["TaskEvent"], TaskEvent)
    match part:
        case Error():
            return msgspec.structs.replace(result, error=part)
        case Usage():
            return msgspec.structs.replace(result, usage=part)
        case SubStep():
            return msgspec.structs.replace(result, substeps=[part])
        case TaskSpec():
            return msgspec.structs.replace(event, task=part)
        case StepOutcome():
            return msgspec.structs.replace(event, step=part)
        case DispatchedStep():
            return msgspec.structs.replace(event, dispatched=[part])
        case DeadLetterItem():
            action = msgspec.convert(SMALLEST["DeadLetterAction"], DeadLetterAction)
            return msgspec.structs.replace(action, items=[part])
    return part


PARTS: list[type[Record]] = [
    Error,
    Usage,
    SubStep,
    TaskSpec,
    StepOutcome,
    DispatchedStep,
    DeadLetterItem,
    *WIRE_RECORDS,
]
SMALLEST: dict[str, dict[str, Any]] = {
    part.__name__: {
        field.name: 1 if field.name.endswith("at") else "x"
        for field in msgspec.structs.fields(part)
        if field.required
    }
    for part in PARTS
}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_a_field_of_another_type_is_written_as_by_fastavro_or_refused(part: type[Record]) -> None:
    for field in part.__struct_fields__:
        for wrong in WRONG:
            fields: Any = {**SMALLEST[part.__name__], field: wrong}
            record = a_part_in(part(**fields))
            expected = fastavro_bytes(record)
            try:
                found = encode(record)[5:]
            except EncodeError:
                assert expected is None, (field, wrong)
            else:
                assert found == expected, (field, wrong)


@pytest.mark.parametrize(
    "field_type",
    ["double", "bytes", "Unheard", ["string", "long"], {"type": "array", "items": "x"}],
)
def test_a_type_that_no_record_used_yet_has_no_shape(field_type: Any) -> None:
    schema = {"type": "record", "name": "Control", "fields": [{"name": "at", "type": field_type}]}

    with pytest.raises(NotImplementedError):
        record_shape_of(schema)


def test_a_record_without_fields_has_no_shape() -> None:
    with pytest.raises(NotImplementedError, match="no fields"):
        record_shape_of({"type": "record", "name": "Control", "fields": []})


NUMBERS = st.sampled_from(
    [
        *[
            b"\x00",
            b"\x02",
            b"\x01",
            b"\x03",
            b"\x7e",
            b"\x7f",
            b"\x80",
            b"\x80\x00",
            b"\x80\x80\x00",
        ],
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
        *[b"\xff" * length + b"\x01" for length in (1, 4, 5, 6, 9, 10, 11, 30)],
        *[b"\x02a", b"\x06\xed\xa0\x80", b"\x02\xff", b"\x04\xc3\xa9"],
    ]
)
"""Numbers at their edges, in other than their shortest forms, and small texts."""
