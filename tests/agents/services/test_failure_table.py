"""How failures are judged: the table from gRPC status to verdict, and its small print."""

import ssl

import grpc
import h11
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from agents.services import failure
from agents.services.failure import MESSAGE_MAX_CHARS, CallFailure, ServiceError
from agents.services.http_pool import ConnectTimeoutError
from schemas.records import Error, ErrorCategory

S = grpc.StatusCode

TABLE = [
    (S.CANCELLED, CallFailure.TRANSIENT, "SERVICE_ABORTED", ErrorCategory.DOWNSTREAM),
    (S.UNKNOWN, CallFailure.TRANSIENT, "SERVICE_FAILED", ErrorCategory.DOWNSTREAM),
    (S.INVALID_ARGUMENT, CallFailure.PERMANENT, "SERVICE_REFUSED", ErrorCategory.USER),
    (S.DEADLINE_EXCEEDED, CallFailure.TIMEOUT, "SERVICE_TIMEOUT", ErrorCategory.TIMEOUT),
    (S.NOT_FOUND, CallFailure.PERMANENT, "SERVICE_REFUSED", ErrorCategory.USER),
    (S.ALREADY_EXISTS, CallFailure.PERMANENT, "SERVICE_REFUSED", ErrorCategory.USER),
    (
        S.PERMISSION_DENIED,
        CallFailure.PERMANENT,
        "SERVICE_ACCESS_DENIED",
        ErrorCategory.DOWNSTREAM,
    ),
    (S.RESOURCE_EXHAUSTED, CallFailure.TRANSIENT, "SERVICE_OVERLOADED", ErrorCategory.DOWNSTREAM),
    (S.FAILED_PRECONDITION, CallFailure.PERMANENT, "SERVICE_REFUSED", ErrorCategory.USER),
    (S.ABORTED, CallFailure.TRANSIENT, "SERVICE_ABORTED", ErrorCategory.DOWNSTREAM),
    (S.OUT_OF_RANGE, CallFailure.PERMANENT, "SERVICE_REFUSED", ErrorCategory.USER),
    (S.UNIMPLEMENTED, CallFailure.PERMANENT, "SERVICE_METHOD_UNKNOWN", ErrorCategory.DOWNSTREAM),
    (S.INTERNAL, CallFailure.TRANSIENT, "SERVICE_FAILED", ErrorCategory.DOWNSTREAM),
    (S.UNAVAILABLE, CallFailure.TRANSIENT, "SERVICE_UNAVAILABLE", ErrorCategory.DOWNSTREAM),
    (S.DATA_LOSS, CallFailure.TRANSIENT, "SERVICE_FAILED", ErrorCategory.DOWNSTREAM),
    (S.UNAUTHENTICATED, CallFailure.PERMANENT, "SERVICE_ACCESS_DENIED", ErrorCategory.DOWNSTREAM),
]


@pytest.mark.parametrize(
    ("status", "failure_class", "code", "category"),
    [pytest.param(*row, id=row[0].name) for row in TABLE],
)
def test_every_status_has_its_verdict(
    status: grpc.StatusCode, failure_class: CallFailure, code: str, category: ErrorCategory
) -> None:
    verdict = failure.verdict_of_status(status)

    assert (verdict.failure_class, verdict.code, verdict.category) == (
        failure_class,
        code,
        category,
    )


def test_the_table_lists_every_status_but_ok() -> None:
    assert set(failure.STATUS_VERDICTS) == set(grpc.StatusCode) - {S.OK}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectTimeoutError("silent"), "SERVICE_UNAVAILABLE"),
        (ssl.SSLError("a handshake"), "SERVICE_UNAVAILABLE"),
        (ssl.SSLCertVerificationError("a certificate"), "SERVICE_UNTRUSTED"),
        (h11.RemoteProtocolError("no HTTP"), "SERVICE_UNAVAILABLE"),
        (h11.LocalProtocolError("bad header"), "SERVICE_REQUEST_INVALID"),
        (TimeoutError(), "SERVICE_TIMEOUT"),
        (ConnectionResetError(), "SERVICE_UNAVAILABLE"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), "SERVICE_RESPONSE_INVALID"),
        (RuntimeError("a fault of a library"), "SERVICE_FAILED"),
    ],
)
def test_exceptions_of_the_libraries_have_their_verdict(error: Exception, code: str) -> None:
    assert failure.verdict_of_exception(error).code == code


def test_transient_failures_and_timeouts_are_retriable_and_nothing_else_is() -> None:
    retriable = {failure_class for failure_class in CallFailure if failure_class.retriable}

    assert retriable == {CallFailure.TRANSIENT, CallFailure.TIMEOUT}


def test_an_error_becomes_the_record_of_a_result() -> None:
    error = ServiceError(failure.TIMED_OUT, "too slow", service="rag-engine")

    assert error.as_record() == Error(
        code="SERVICE_TIMEOUT",
        message="too slow",
        category=ErrorCategory.TIMEOUT,
        retriable=True,
        service="rag-engine",
    )


def test_a_permanent_error_carries_no_time_for_another_attempt() -> None:
    refused = failure.verdict_of_status(S.INVALID_ARGUMENT)

    error = ServiceError(refused, "no", service="rag-engine", retry_after_ms=500)

    assert error.retry_after_ms is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("0", 0, id="at once"),
        pytest.param("1500", 1500, id="milliseconds"),
        pytest.param("9" * 18, failure.RETRY_AFTER_MAX_MS, id="cut to a day"),
        pytest.param("9" * 19, None, id="too long to be meant"),
        pytest.param("-1", None, id="negative"),
        pytest.param("1.5", None, id="not whole"),
        pytest.param("١٢", None, id="other digits"),
        pytest.param("", None, id="empty"),
        pytest.param(b"1500", None, id="bytes"),
        pytest.param(None, None, id="absent"),
    ],
)
def test_retry_after_is_decimal_milliseconds_or_nothing(
    value: str | bytes | None, expected: int | None
) -> None:
    assert failure.retry_after_of(value) == expected


def details(*delays: tuple[int, int], others: int = 0) -> bytes:
    """A ``google.rpc.Status`` with a RetryInfo for each (seconds, nanoseconds)."""
    status = status_pb2.Status(code=8)
    for number in range(others):
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=f"R{number}"))
    for seconds, nanos in delays:
        delay = Duration(seconds=seconds, nanos=nanos)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return bytes(status.SerializeToString())


def without_a_delay() -> bytes:
    status = status_pb2.Status(code=8)
    status.details.add().Pack(error_details_pb2.RetryInfo())
    return bytes(status.SerializeToString())


def of_a_broken_detail(type_name: str) -> bytes:
    status = status_pb2.Status(code=8)
    broken = status.details.add()
    broken.type_url, broken.value = f"type.googleapis.com/{type_name}", b"\xff\xff"
    return bytes(status.SerializeToString())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(details((3, 0)), 3000, id="seconds"),
        pytest.param(details((0, 1)), 1, id="rounded up"),
        pytest.param(details((1, 500_000_000), others=3), 1500, id="behind other details"),
        pytest.param(details((1, 0), (9, 0), (2, 0)), 9000, id="the latest of several"),
        pytest.param(details((-5, 0)), 0, id="negative"),
        pytest.param(details((0, -5)), 0, id="negative nanoseconds"),
        pytest.param(details((2**62, 0)), failure.RETRY_AFTER_MAX_MS, id="cut to a day"),
        pytest.param(details(others=2), None, id="other details only"),
        pytest.param(without_a_delay(), None, id="no delay in it"),
        pytest.param(of_a_broken_detail("google.rpc.RetryInfo"), None, id="a broken one"),
        pytest.param(of_a_broken_detail("no.such.Type"), None, id="of an unknown type"),
        pytest.param(b"\xff\xff\xff", None, id="no status"),
        pytest.param(b"", None, id="empty"),
        pytest.param("text", None, id="text"),
        pytest.param(None, None, id="absent"),
    ],
)
def test_retry_info_is_a_delay_or_nothing(value: str | bytes | None, expected: int | None) -> None:
    assert failure.retry_info_of(value) == expected


@given(value=st.binary(max_size=64) | st.integers(0, 12).map(lambda n: details((7, 0))[:n]))
def test_details_that_are_only_bytes_are_a_delay_of_a_day_at_most_or_nothing(value: bytes) -> None:
    found = failure.retry_info_of(value)

    assert found is None or 0 <= found <= failure.RETRY_AFTER_MAX_MS


@pytest.mark.parametrize("value", ["query_empty", "1ST", "", "A" * 65, "A-B", "A\n", b"A", None])
def test_a_detail_code_that_is_not_upper_snake_is_ignored(value: str | bytes | None) -> None:
    assert failure.detail_code_of(value) is None


@given(text=st.text(st.characters(exclude_categories=[])))
def test_foreign_text_is_one_short_line_that_utf8_can_hold(text: str) -> None:
    line = failure.one_line(text)

    assert len(line) <= MESSAGE_MAX_CHARS
    assert line.isprintable()
    assert line.encode().decode() == line


def test_a_long_message_shows_that_it_was_cut() -> None:
    line = failure.one_line("x" * (MESSAGE_MAX_CHARS + 1))

    assert line == "x" * (MESSAGE_MAX_CHARS - 1) + "…"
