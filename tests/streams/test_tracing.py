"""Trace headers come from strangers; what is none begins a new trace and raises nothing."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import TaskId
from streams.log_context import log_fields, working_on
from streams.traceparent import ids_of, is_sampled, passed_on, span_context
from streams.tracing import (
    RecordSpan,
    consumer_span,
    creation_headers,
    exemplar,
    links_to,
    trace_headers,
)

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
TRACEPARENTS = st.one_of(
    st.none(),
    st.binary(max_size=80),
    st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-x)?", fullmatch=True).map(
        str.encode
    ),
)
TRACESTATES = st.one_of(
    st.none(), st.binary(max_size=600), st.text(max_size=600).map(lambda t: t.encode())
)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    # The API quotes what it does not understand; production sets this in set_up_logs.
    logging.getLogger("opentelemetry.trace.span").setLevel(logging.ERROR)


@given(traceparent=TRACEPARENTS, tracestate=TRACESTATES, times=st.integers(0, 2))
def test_headers_of_strangers_raise_nothing_and_what_is_passed_on_is_a_trace(
    traceparent: bytes | None, tracestate: bytes | None, times: int
) -> None:
    headers = [("traceparent", traceparent), ("tracestate", tracestate)] * times
    carried = passed_on(headers)
    found = span_context(carried)

    assert carried.keys() <= {"traceparent", "tracestate"}
    assert bool(carried) == found.is_valid
    assert len(carried.get("tracestate", "")) <= 512
    assert all(value.isascii() and value.isprintable() for value in carried.values())
    assert passed_on([(n, v.encode()) for n, v in carried.items()]) == carried
    if carried:
        assert ids_of(carried) is not None
        assert is_sampled(carried) == bool(found.trace_flags.sampled)


def test_a_tracestate_is_passed_on_up_to_512_characters() -> None:
    most = "a=" + "b" * 254 + ",c=" + "d" * 253
    assert len(most) == 512

    def kept(state: str) -> str | None:
        return passed_on([("traceparent", PARENT.encode()), ("tracestate", state.encode())]).get(
            "tracestate"
        )

    assert kept(most) == most
    assert kept(most + "d") is None
    assert kept("k=" + "v" * 8192) is None


def test_a_trace_is_passed_on_unchanged_without_an_exporter() -> None:
    headers = [("traceparent", PARENT.encode())]
    with consumer_span(headers, "a-topic", 0, 0):
        inside, sampled = trace_headers(), exemplar()

    assert inside == passed_on(headers) == RecordSpan(headers, "t", 0, 0).headers
    assert inside == {"traceparent": PARENT}
    assert sampled == {"trace_id": TRACE_ID}
    assert creation_headers("a-topic", {}, links_to(headers)) == {}


def test_a_record_without_a_trace_has_none_without_an_exporter() -> None:
    with consumer_span([], "a-topic", 0, 0):
        assert trace_headers() == {}
        assert exemplar() is None
    assert RecordSpan([], "a-topic", 0, 0).headers == {}


def test_lines_name_the_record_in_work_and_its_trace() -> None:
    assert log_fields() == {}
    with working_on("task_1", carried={"traceparent": PARENT}):
        decided = log_fields()
        with (
            consumer_span([("traceparent", PARENT.encode())], "a-topic", 0, 0),
            working_on(TaskId("task_2"), "retrieve", 3),
        ):
            attempted = log_fields()

    ids = {"trace_id": TRACE_ID, "span_id": SPAN_ID}
    assert decided == {"task_id": "task_1", **ids}
    assert attempted == {"task_id": "task_2", "step": "retrieve", "attempt": 3, **ids}
    assert log_fields() == {}
