"""Foreign JSON either is safe for everything behind admission, or is refused with a code."""

import json
import math
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidRecordError
from schemas.json_text import (
    _read_sound,
    check_text,
    compact,
    parse_object,
    parse_value,
    read,
)
from schemas.limits import JSON_DEPTH_MAX
from schemas.records import Json
from schemas.sound_json import SUSPECT

KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**300), max_value=10**300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(KEYS, children, max_size=4),
    max_leaves=12,
)


def repeated(key: str) -> str:
    quoted = json.dumps(key)
    return f'{{{quoted}:1,"b":[],{quoted} :2}}'


def code_of(text: str, *, max_bytes: int = 1_000_000) -> str:
    with pytest.raises(InvalidRecordError) as caught:
        parse_value(text, what="input", max_bytes=max_bytes)
    return str(caught.value.code)


def test_an_object_is_parsed() -> None:
    value = parse_object('{"a": [1, 2.5, "é", null]}', what="input", max_bytes=100)

    assert value == {"a": [1, 2.5, "é", None]}


@pytest.mark.parametrize("text", ["[]", "1", '"text"', "null"])
def test_a_value_that_is_no_object_is_no_object(text: str) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        parse_object(text, what="input", max_bytes=100)

    assert caught.value.code == "JSON_INVALID"


@pytest.mark.parametrize(
    "text", ["", " ", "{", '{"a":}', "{'a': 1}", "[1,]", "01", "1 2", "\ufeff1"]
)
def test_what_is_no_json_is_invalid(text: str) -> None:
    assert code_of(text) == "JSON_INVALID"


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', '{"b":[{"a":1,"\\u0061":1}]}'])
def test_a_key_that_occurs_twice_is_invalid(text: str) -> None:
    assert code_of(text) == "JSON_INVALID"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('"\\u0000"', id="escaped NUL"),
        pytest.param('"\0"', id="raw NUL"),
        pytest.param('{"a\\u0000": 1}', id="NUL in a key"),
        pytest.param('"\\ud800"', id="escaped high surrogate"),
        pytest.param('["\\udc00\\ud800"]', id="surrogates in the wrong order"),
        pytest.param('{"a": {"\\ud800": 1}}', id="surrogate in a nested key"),
        pytest.param('"\ud800"', id="raw surrogate"),
    ],
)
def test_text_that_postgres_cannot_store_is_refused(text: str) -> None:
    assert code_of(text) == "TEXT_NOT_STORABLE"


def test_an_escaped_pair_of_surrogates_is_one_character() -> None:
    assert parse_value('"\\ud83d\\ude00"', what="input", max_bytes=100) == "😀"


def test_an_escaped_backslash_before_u0000_is_text() -> None:
    assert parse_value('"\\\\u0000"', what="input", max_bytes=100) == "\\u0000"


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "1e-20000",
        "0e-99999",
        "0e99999999999999999999",
        pytest.param("9" * 310, id="an integer beyond the doubles"),
        pytest.param("1" + "0" * 5000, id="an integer that Python refuses to read"),
        pytest.param("0." + "1" * 20_000, id="a fraction that Postgres refuses"),
        pytest.param('{"a":[' + "1" * 100_000 + "]}", id="inside a document"),
    ],
)
def test_a_number_that_not_every_reader_can_take_is_refused(text: str) -> None:
    assert code_of(text) == "NUMBER_NOT_STORABLE"


@pytest.mark.parametrize("text", ["1" + "0" * 308, "1e308", "-1.7976931348623157e308", "5e-324"])
def test_the_largest_and_smallest_doubles_are_taken(text: str) -> None:
    assert math.isfinite(parse_value(text, what="input", max_bytes=1000))


def test_a_large_integer_stays_exact() -> None:
    assert (
        parse_value("12345678901234567890123", what="x", max_bytes=100) == 12345678901234567890123
    )


def test_the_deepest_allowed_document_is_taken() -> None:
    text = "[" * JSON_DEPTH_MAX + "]" * JSON_DEPTH_MAX

    assert parse_value(text, what="input", max_bytes=1000)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 65 + "]" * 65, id="one too deep"),
        pytest.param("[" * 100_000, id="so deep that a parser would overflow"),
        pytest.param('{"a":' * 50_000, id="objects"),
    ],
)
def test_a_document_that_is_too_deep_is_refused(text: str) -> None:
    assert code_of(text) == "JSON_TOO_DEEP"


def test_brackets_inside_of_strings_are_not_depth() -> None:
    text = '["' + "[" * 100 + '\\"' + "{" * 100 + '"]'

    assert parse_value(text, what="input", max_bytes=1000) == ["[" * 100 + '"' + "{" * 100]


def test_brackets_side_by_side_are_not_depth() -> None:
    text = "[" + ",".join(["{}"] * 1000) + "]"

    assert len(parse_value(text, what="input", max_bytes=10_000)) == 1000


def test_a_string_that_never_ends_takes_no_longer_than_it_is() -> None:
    text = "[" * 65 + '"' + '\\"' * 400_000  # quadratic work would take minutes

    assert code_of(text) == "JSON_TOO_DEEP"
    assert code_of('{"a":[' * 20 + '"[' + '\\"' * 400_000 + "{" * 60) == "JSON_INVALID"


@pytest.mark.parametrize(("text", "size"), [('"abc"', 5), ('"é"', 4), ('"😀"', 6)])
def test_size_counts_bytes_of_utf8_and_the_limit_is_allowed(text: str, size: int) -> None:
    assert parse_value(text, what="input", max_bytes=size)
    assert code_of(text, max_bytes=size - 1) == "INPUT_TOO_LARGE"


def test_check_text_lets_ordinary_text_pass() -> None:
    check_text("naïve 😀 \t\n", "name")


@pytest.mark.parametrize("text", ["a\0", "\ud800", "a\udfff"])
def test_check_text_refuses_what_cannot_be_stored(text: str) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        check_text(text, "name")

    assert caught.value.code == "TEXT_NOT_STORABLE"


def test_compact_text_is_short_and_keeps_order_and_characters() -> None:
    assert compact({"b": 1, "a": ["é", None, 1.5]}) == '{"b":1,"a":["é",null,1.5]}'


def test_compact_refuses_half_a_surrogate_pair() -> None:
    with pytest.raises(InvalidRecordError) as caught:
        compact({"a": "\ud800"})

    assert caught.value.code == "TEXT_NOT_STORABLE"


@given(value=JSON_VALUES, ascii_only=st.booleans())
def test_every_storable_value_survives_parse_and_compact(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)

    parsed = parse_value(text, what="input", max_bytes=10**6)

    assert parsed == value
    assert parse_value(compact(parsed), what="input", max_bytes=10**6) == value


@given(
    text=st.text(alphabet='{}[]",:\\u0d8eE+-.123 \0nNaInfity\ud800', max_size=40)
    | JSON_VALUES.map(json.dumps)
)
def test_any_text_is_parsed_or_refused_and_both_readers_agree(text: str) -> None:
    try:
        value = parse_value(text, what="input", max_bytes=10**6)
    except InvalidRecordError:
        return

    assert read(Json(text)) == value
    assert msgspec.json.decode(compact(value)) == value


ODD = st.text(st.sampled_from(['"', "\\", ":", "{", "}", "[", "]", ",", "a", "1", "e", " ", "\n"]))


@given(JSON_VALUES | st.dictionaries(ODD, ODD | st.lists(ODD)), st.sampled_from([None, 2, "\t"]))
def test_text_is_read_the_same_at_once_and_slowly(value: Any, indent: int | str | None) -> None:
    text = json.dumps(value, indent=indent)
    sound = _read_sound(text)

    assert sound is SUSPECT or sound == parse_slowly(text)


@given(ODD | JSON_VALUES.map(json.dumps).map(lambda text: text[:-1]) | ODD.map(repeated))
def test_text_that_is_read_at_once_has_no_fault(text: str) -> None:
    if _read_sound(text) is not SUSPECT:
        parse_slowly(text)


def parse_slowly(text: str) -> Any:
    with mock.patch("schemas.json_text._read_sound", return_value=SUSPECT):
        return parse_value(text, what="it", max_bytes=1_000_000)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"a":1,"a":2}', id="a key twice"),
        pytest.param('{"a\\\\":1,"b":1,"b":":x"}', id="a key twice, beside what looks like one"),
        pytest.param('"\\u0000"', id="NUL"),
        pytest.param("1e999", id="no finite double"),
        pytest.param("[1e-500]", id="an exponent that Postgres does not take"),
        pytest.param("9" * 310, id="an integer that is no double"),
        pytest.param("[" * 65 + "]" * 65, id="too deep"),
        pytest.param("[" * 100_000, id="much too deep"),
    ],
)
def test_what_may_have_a_fault_is_not_read_at_once(text: str) -> None:
    assert _read_sound(text) is SUSPECT


def test_a_usual_document_is_read_at_once() -> None:
    document = {"query": "why?", "documents": [{"id": 1, "score": 0.25, "text": "\u4e2d é"}] * 99}

    for text in (json.dumps(document), compact(document), json.dumps(document, indent=2)):
        assert _read_sound(text) == document
