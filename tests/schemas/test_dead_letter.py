"""The form of a dead letter."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from schemas.dead_letter import (
    STACKTRACE_MAX_BYTES,
    Failure,
    FailureClass,
    Origin,
    Stage,
    dead_letter_headers,
    dead_letter_id,
)
from schemas.headers import header_text

FAILURE = Failure(
    stage=Stage.DECODE, failure_class=FailureClass.POISON, code="MAGIC_UNKNOWN", message="why"
)
HEADERS = st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=5)


def an_origin(headers: list[tuple[str, bytes | None]] | None = None) -> Origin:
    return Origin(
        topic="t",
        partition=3,
        offset=17,
        timestamp_ms=1000,
        key=b"k",
        value=b"v",
        headers=tuple(headers or []),
    )


@given(headers=HEADERS)
def test_original_headers_are_kept_in_order_with_repeated_names_and_odd_values(
    headers: list[tuple[str, bytes | None]],
) -> None:
    result = dead_letter_headers(an_origin(headers), FAILURE, group="g", now_ms=2000)

    assert result[: len(headers)] == headers


def test_a_dead_letter_says_where_it_came_from_and_why() -> None:
    headers = dead_letter_headers(an_origin(), FAILURE, group="g", now_ms=2000)

    found = {name: header_text(headers, name) for name, _ in headers}
    assert found["__dlq.errors.topic"] == found["x-original-topic"] == "t"
    assert found["__dlq.errors.partition"] == "3"
    assert found["__dlq.errors.offset"] == "17"
    assert found["__dlq.errors.stage"] == "decode"
    assert found["__dlq.errors.class"] == "POISON"
    assert found["__dlq.errors.code"] == "MAGIC_UNKNOWN"
    assert found["__dlq.errors.original.timestamp"] == "1000"


def test_the_same_record_has_the_same_id_for_one_group_and_another_for_another() -> None:
    ids = [dead_letter_id(an_origin(), group) for group in ("g", "g", "h")]

    assert ids[0] == ids[1] != ids[2]


@given(text=st.text(st.characters(), max_size=50))
def test_no_message_breaks_the_headers(text: str) -> None:
    failure = replace(FAILURE, message=text, stacktrace=text * 1000)
    headers = dict(dead_letter_headers(an_origin(), failure, group="g", now_ms=0))

    stacktrace = headers["__dlq.errors.exception.stacktrace"]
    assert stacktrace is not None
    assert len(stacktrace) <= STACKTRACE_MAX_BYTES


def test_the_trace_is_that_of_the_failure_or_else_that_of_the_record() -> None:
    origin = an_origin([("traceparent", b"00-record"), ("ce_subject", b"task_1")])
    found = [
        dict(dead_letter_headers(origin, failure, group="g", now_ms=0))
        for failure in (FAILURE, replace(FAILURE, traceparent="00-failure"))
    ]

    assert [headers["__dlq.traceparent"] for headers in found] == [b"00-record", b"00-failure"]
    assert found[0]["__dlq.task.id"] == b"task_1"


def test_no_form_of_a_record_shows_its_contents() -> None:
    record = Origin(
        topic="t",
        partition=0,
        offset=7,
        timestamp_ms=0,
        key=b"secret",
        value=b"secret",
        headers=(("h", b"secret"),),
    )

    assert "secret" not in repr(record) + pretty_repr(record)
