"""CloudEvents headers."""

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


def test_the_last_of_repeated_headers_counts() -> None:
    assert header_text([("a", b"1"), ("a", b"2")], "a") == "2"


def test_a_header_that_is_not_utf8_is_as_good_as_missing() -> None:
    assert header_text([("traceparent", b"\xff")], "traceparent") is None
