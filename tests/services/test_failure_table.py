"""How failures are judged: the table from gRPC status to verdict, and its small print."""

import ssl

import grpc
import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.services import failure
from agents.services.failure import MESSAGE_MAX_CHARS, FailureClass, ServiceError
from agents.services.http_pool import ConnectTimeoutError
from schemas.records import Error, ErrorCategory

S = grpc.StatusCode

TABLE = [
    (S.CANCELLED, FailureClass.TRANSIENT, "SERVICE_ABORTED", ErrorCategory.DOWNSTREAM),
    (S.UNKNOWN, FailureClass.TRANSIENT, "SERVICE_FAILED", ErrorCategory.DOWNSTREAM),
    (S.INVALID_ARGUMENT, FailureClass.PERMANENT, "SERVICE_REFUSED", ErrorCategory.USER),
    (S.DEADLINE_EXCEEDED, FailureClass.TIMEOUT, "SERVICE_TIMEOUT", ErrorCategory.TIMEOUT),
    (S.NOT_FOUND, FailureClass.PERMANENT, "SERVICE_REFUSED", ErrorCategory.USER),
    (S.ALREADY_EXISTS, FailureClass.PERMANENT, "SERVICE_REFUSED", ErrorCategory.USER),
    (
        S.PERMISSION_DENIED,
        FailureClass.PERMANENT,
        "SERVICE_ACCESS_DENIED",
        ErrorCategory.DOWNSTREAM,
    ),
    (S.RESOURCE_EXHAUSTED, FailureClass.TRANSIENT, "SERVICE_OVERLOADED", ErrorCategory.DOWNSTREAM),
    (S.FAILED_PRECONDITION, FailureClass.PERMANENT, "SERVICE_REFUSED", ErrorCategory.USER),
    (S.ABORTED, FailureClass.TRANSIENT, "SERVICE_ABORTED", ErrorCategory.DOWNSTREAM),
    (S.OUT_OF_RANGE, FailureClass.PERMANENT, "SERVICE_REFUSED", ErrorCategory.USER),
    (S.UNIMPLEMENTED, FailureClass.PERMANENT, "SERVICE_METHOD_UNKNOWN", ErrorCategory.DOWNSTREAM),
    (S.INTERNAL, FailureClass.TRANSIENT, "SERVICE_FAILED", ErrorCategory.DOWNSTREAM),
    (S.UNAVAILABLE, FailureClass.TRANSIENT, "SERVICE_UNAVAILABLE", ErrorCategory.DOWNSTREAM),
    (S.DATA_LOSS, FailureClass.TRANSIENT, "SERVICE_FAILED", ErrorCategory.DOWNSTREAM),
    (S.UNAUTHENTICATED, FailureClass.PERMANENT, "SERVICE_ACCESS_DENIED", ErrorCategory.DOWNSTREAM),
]


@pytest.mark.parametrize(
    ("status", "failure_class", "code", "category"),
    [pytest.param(*row, id=row[0].name) for row in TABLE],
)
def test_every_status_has_its_verdict(
    status: grpc.StatusCode, failure_class: FailureClass, code: str, category: ErrorCategory
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
        (ssl.SSLError("a certificate"), "SERVICE_UNAVAILABLE"),
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
    retriable = {failure_class for failure_class in FailureClass if failure_class.retriable}

    assert retriable == {FailureClass.TRANSIENT, FailureClass.TIMEOUT}


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
