"""CloudEvents headers."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from schemas.headers import cloudevent_headers, header_text


def test_headers_follow_the_cloudevents_binding() -> None:
    headers = cloudevent_headers(
        event_id="e1",
        event_type="orchestrator.v1.TaskCreated",
        time_ms=1_700_000_000_123,
        task_id="task_1",
        tenant_id="acme",
        task_type="rag",
        trace={"traceparent": "00-1-2-01"},
    )

    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"e1",
        "ce_type": b"orchestrator.v1.TaskCreated",
        "ce_source": b"/ai-orchestrator",
        "ce_time": b"2023-11-14T22:13:20.123Z",
        "ce_subject": b"task_1",
        "ce_tenantid": b"acme",
        "ce_tasktype": b"rag",
        "traceparent": b"00-1-2-01",
    }


def test_what_is_not_known_has_no_header_and_another_source_is_named() -> None:
    headers = cloudevent_headers(
        event_id="é", event_type="t", time_ms=-1, task_id="task_1", step="", source="/crm"
    )

    assert headers == [
        ("ce_specversion", b"1.0"),
        ("ce_id", "é".encode()),
        ("ce_type", b"t"),
        ("ce_source", b"/crm"),
        ("ce_time", b"1969-12-31T23:59:59.999Z"),
        ("ce_subject", b"task_1"),
        ("ce_step", b""),
    ]


@given(time_ms=st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_a_time_is_formatted_as_the_calendar_says(time_ms: int) -> None:
    headers = cloudevent_headers(event_id="e", event_type="t", time_ms=time_ms, task_id="task_1")

    second = datetime.fromtimestamp(time_ms // 1000, UTC)
    assert dict(headers)["ce_time"] == f"{second:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z".encode()


def test_the_last_of_repeated_headers_counts() -> None:
    assert header_text([("a", b"1"), ("a", b"2")], "a") == "2"


def test_a_header_that_is_not_utf8_is_as_good_as_missing() -> None:
    assert header_text([("traceparent", b"\xff")], "traceparent") is None
