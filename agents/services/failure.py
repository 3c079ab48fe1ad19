"""Classifies a failed call, from its gRPC status, HTTP status or exception.

The step worker and the flood guard read ``failure_class`` and ``retriable``, never a message.
``docs/services.md`` shows the same tables to the owners of services.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from types import MappingProxyType

import grpc
import h11
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from schemas.errors import OrchestratorError
from schemas.records import Error, ErrorCategory

MESSAGE_MAX_CHARS = 300
"""A service's message is kept up to here: enough to act on, too short to carry a document."""

_SECONDS_DIGITS_MAX = 15

RETRY_AFTER_MAX_MS = 24 * 3600 * 1000
"""A longer delay is cut; no step's deadline is that far away."""


class CallFailure(StrEnum):
    """What the caller may do with the same request."""

    POISON = "POISON"
    """The request itself cannot be sent. Nothing was called; trying again is useless."""

    PERMANENT = "PERMANENT"
    """The service refused, or its answer cannot be used. The step fails."""

    TRANSIENT = "TRANSIENT"
    """The service is down, busy or broken for now. Another attempt may succeed."""

    TIMEOUT = "TIMEOUT"
    """No answer in time; whether the effects happened is unknown. Another attempt may succeed."""

    @property
    def retriable(self) -> bool:
        """True if another attempt with the same input may succeed."""
        return self in (CallFailure.TRANSIENT, CallFailure.TIMEOUT)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of the table: the class, code and category of a kind of failure."""

    failure_class: CallFailure
    code: str
    """Stable, upper snake; in results, dead letters and metrics."""
    category: ErrorCategory


class ServiceError(OrchestratorError):
    """A call that did not succeed.

    The caller may call again with the same idempotency key if ``retriable``, after
    ``retry_after_ms`` if that is given. Fields vary by instance; subclasses do not exist.

    Attributes:
        service: the name of the service, as the pipeline knows it.
        detail_code: the service's own ``error-code``, upper snake, when it sent one.
        retry_after_ms: the service's lower bound for the next attempt, 0 to 24 h; only
            on a retriable error.
        called: False if the service certainly got nothing of the request: a call of another
            endpoint is then the first call.
    """

    def __init__(
        self,
        verdict: Verdict,
        message: str,
        *,
        service: str,
        detail_code: str | None = None,
        retry_after_ms: int | None = None,
        called: bool = True,
    ) -> None:
        self.message = one_line(message)
        super().__init__(self.message)
        self.failure_class = verdict.failure_class
        self.code = verdict.code
        self.category = verdict.category
        self.retriable = verdict.failure_class.retriable
        self.service = service
        self.detail_code = detail_code
        self.retry_after_ms = retry_after_ms if self.retriable else None
        self.called = called

    def as_record(self) -> Error:
        """The error as it is stored in a step's result."""
        return Error(
            code=self.code,
            message=self.message,
            category=self.category,
            retriable=self.retriable,
            service=self.service,
        )


def verdict_of_status(status: grpc.StatusCode) -> Verdict:
    """Classify a gRPC status; a status that is not in the table (or OK) is ``SERVICE_FAILED``."""
    return STATUS_VERDICTS.get(status, FAILED)


def verdict_of_http(status: int) -> Verdict:
    """Classify an HTTP status that does not mean success.

    A 4xx that is not in the table is a refusal, a 5xx a failure; any other status (a redirect,
    which is not followed, or an undefined number) breaks the contract.
    """
    listed = HTTP_VERDICTS.get(status)
    if listed is not None:
        return listed
    return {4: _REFUSED, 5: FAILED}.get(status // 100, RESPONSE_INVALID)


def verdict_of_exception(error: Exception) -> Verdict:
    """Classify an error of a client library; one that is not in the table is ``SERVICE_FAILED``."""
    for kind, verdict in EXCEPTION_VERDICTS:
        if isinstance(error, kind):
            return verdict
    return FAILED


def detail_code_of(value: str | bytes | None) -> str | None:
    """The trailing ``error-code``, or None if it is not 1 to 64 characters of upper snake."""
    return value if isinstance(value, str) and _DETAIL_CODE.fullmatch(value) else None


def retry_after_of(value: str | bytes | None) -> int | None:
    """The trailing ``retry-after-ms``, at most 24 h, or None if it is not a decimal number."""
    if not isinstance(value, str) or not _DIGITS.fullmatch(value):
        return None
    return min(int(value), RETRY_AFTER_MAX_MS)


def retry_after_ms(value: str | None, *, now_s: float) -> int | None:
    """Read ``Retry-After`` of HTTP: seconds, or a date; None if it is neither. At most 24 h.

    Source: RFC 9110, 10.2.3.
    """
    if value is None:
        return None
    if value.isascii() and value.isdigit() and len(value) <= _SECONDS_DIGITS_MAX:
        return min(int(value) * 1000, RETRY_AFTER_MAX_MS)
    try:
        wanted_s = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(0, int((wanted_s - now_s) * 1000)), RETRY_AFTER_MAX_MS)


def retry_info_of(value: str | bytes | None) -> int | None:
    """The delay of ``google.rpc.RetryInfo`` in ``grpc-status-details-bin``, in milliseconds.

    0 to 24 h, rounded up: a negative delay is 0, a longer one is cut. None if this detail is
    missing or cannot be read.
    """
    if not isinstance(value, bytes):
        return None
    delays = []
    try:
        for detail in status_pb2.Status.FromString(value).details:
            info = error_details_pb2.RetryInfo()
            if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.HasField("retry_delay"):
                delays.append(_millis_of(info.retry_delay))
    except (DecodeError, ValueError):
        pass  # details that were read before it count: a lower bound is better than no bound
    return max(delays, default=None)


def later_of(*bounds: int | None) -> int | None:
    """The latest of several lower bounds, in milliseconds; None without a bound."""
    return max((bound for bound in bounds if bound is not None), default=None)


def _millis_of(delay: Duration) -> int:
    millis = delay.seconds * 1000 - (-delay.nanos // 1_000_000)
    return min(max(0, millis), RETRY_AFTER_MAX_MS)


def one_line(text: str) -> str:
    """Cut foreign text to ``MESSAGE_MAX_CHARS`` printable characters on one line.

    The result can be logged, put into a header and stored in Postgres (no NUL, no lone
    surrogate).
    """
    cut = text[: MESSAGE_MAX_CHARS + 1]
    printable = "".join(char if char.isprintable() else " " for char in cut)
    if len(printable) <= MESSAGE_MAX_CHARS:
        return printable
    return printable[: MESSAGE_MAX_CHARS - 1] + "…"


_DETAIL_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_DIGITS = re.compile(r"[0-9]{1,18}")

UNSENDABLE = Verdict(CallFailure.POISON, "SERVICE_REQUEST_INVALID", ErrorCategory.POISON)
"""The request cannot be put on the wire: too large, or text that is not Unicode."""

RESPONSE_TOO_LARGE = Verdict(
    CallFailure.PERMANENT, "SERVICE_MESSAGE_TOO_LARGE", ErrorCategory.DOWNSTREAM
)
"""gRPC reports an oversized message as RESOURCE_EXHAUSTED, but a retry would be as large."""

RESPONSE_INVALID = Verdict(
    CallFailure.PERMANENT, "SERVICE_RESPONSE_INVALID", ErrorCategory.DOWNSTREAM
)
"""The answer breaks the contract, such as a negative cost; the call was paid for already."""

TIMED_OUT = Verdict(CallFailure.TIMEOUT, "SERVICE_TIMEOUT", ErrorCategory.TIMEOUT)
UNAVAILABLE = Verdict(CallFailure.TRANSIENT, "SERVICE_UNAVAILABLE", ErrorCategory.DOWNSTREAM)
UNTRUSTED = Verdict(CallFailure.TRANSIENT, "SERVICE_UNTRUSTED", ErrorCategory.DOWNSTREAM)
"""The service did not prove by a certificate that it is the service; it got nothing of the request.

Tried again: certificates and the list of authorities are replaced while processes run, one after
the other, and a repeated call has no effect that the first one had. If it takes longer than the
attempts, an operator corrects the files, and the dead letter is replayed."""

TLS_REFUSED = Verdict(CallFailure.TRANSIENT, "SERVICE_TLS_REFUSED", ErrorCategory.DOWNSTREAM)
"""The service ended the connection in the TLS handshake or right after it. Tried again, as above:
it may not have read our new certificate yet."""

FAILED = Verdict(CallFailure.TRANSIENT, "SERVICE_FAILED", ErrorCategory.DOWNSTREAM)
OVERLOADED = Verdict(CallFailure.TRANSIENT, "SERVICE_OVERLOADED", ErrorCategory.DOWNSTREAM)
_ABORTED = Verdict(CallFailure.TRANSIENT, "SERVICE_ABORTED", ErrorCategory.DOWNSTREAM)
_REFUSED = Verdict(CallFailure.PERMANENT, "SERVICE_REFUSED", ErrorCategory.USER)
# The user cannot change these two: an operator has to fix a pipeline or a credential.
METHOD_UNKNOWN = Verdict(CallFailure.PERMANENT, "SERVICE_METHOD_UNKNOWN", ErrorCategory.DOWNSTREAM)
ACCESS_DENIED = Verdict(CallFailure.PERMANENT, "SERVICE_ACCESS_DENIED", ErrorCategory.DOWNSTREAM)

STATUS_VERDICTS: Mapping[grpc.StatusCode, Verdict] = MappingProxyType(
    {
        # CANCELLED here comes from the server; a call that we cancelled raises CancelledError.
        grpc.StatusCode.CANCELLED: _ABORTED,
        grpc.StatusCode.UNKNOWN: FAILED,
        grpc.StatusCode.INVALID_ARGUMENT: _REFUSED,
        grpc.StatusCode.DEADLINE_EXCEEDED: TIMED_OUT,
        grpc.StatusCode.NOT_FOUND: _REFUSED,
        grpc.StatusCode.ALREADY_EXISTS: _REFUSED,
        grpc.StatusCode.PERMISSION_DENIED: ACCESS_DENIED,
        grpc.StatusCode.RESOURCE_EXHAUSTED: OVERLOADED,
        grpc.StatusCode.FAILED_PRECONDITION: _REFUSED,
        grpc.StatusCode.ABORTED: _ABORTED,
        grpc.StatusCode.OUT_OF_RANGE: _REFUSED,
        grpc.StatusCode.UNIMPLEMENTED: METHOD_UNKNOWN,
        grpc.StatusCode.INTERNAL: FAILED,
        grpc.StatusCode.UNAVAILABLE: UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS: FAILED,
        grpc.StatusCode.UNAUTHENTICATED: ACCESS_DENIED,
    }
)
"""Every status but OK. Permanent ones match HTTP's 4xx (except 408, 409, 425 and 429)."""

HTTP_VERDICTS: Mapping[int, Verdict] = MappingProxyType(
    {
        401: ACCESS_DENIED,
        403: ACCESS_DENIED,
        405: METHOD_UNKNOWN,
        407: ACCESS_DENIED,
        408: TIMED_OUT,
        409: _ABORTED,
        413: RESPONSE_TOO_LARGE,
        425: UNAVAILABLE,
        429: OVERLOADED,
        502: UNAVAILABLE,
        503: UNAVAILABLE,
        504: TIMED_OUT,
    }
)
"""The statuses that are more specific than their class: see :func:`verdict_of_http`."""

EXCEPTION_VERDICTS: tuple[tuple[type[Exception], Verdict], ...] = (
    (h11.LocalProtocolError, UNSENDABLE),
    # The bytes are not HTTP: this may be over in a moment.
    (h11.RemoteProtocolError, UNAVAILABLE),
    (grpc.aio.UsageError, UNAVAILABLE),
    (grpc.aio.InternalError, UNAVAILABLE),
    (TimeoutError, TIMED_OUT),
    (ssl.SSLCertVerificationError, UNTRUSTED),
    (OSError, UNAVAILABLE),
    # Text that is not UTF-8, or a number out of range: the answer was read and cannot be used.
    (ValueError, RESPONSE_INVALID),
)
"""In order: the first type that fits decides."""
