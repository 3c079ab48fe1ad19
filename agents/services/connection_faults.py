"""Why a call did not get through, in words for the tenant: no address, no path, no foreign text.

The words of the libraries name addresses; :class:`FaultLog` writes them into our own log.
"""

import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from agents.services import failure
from agents.services.failure import Verdict

log = structlog.get_logger()

LOG_INTERVAL_S = 60.0
"""A cause that lasts is logged once in this time."""


@dataclass(frozen=True, slots=True)
class CallFault:
    """A call that did not get through."""

    verdict: Verdict
    said: str
    """For the tenant."""


class TlsRefusedError(ConnectionError):
    """The service ended a connection in the TLS handshake, or right after it without a byte."""


UNRESOLVED = CallFault(failure.UNAVAILABLE, "its name cannot be resolved")
REFUSED = CallFault(failure.UNAVAILABLE, "it refuses connections")
UNREACHABLE = CallFault(failure.UNAVAILABLE, "it cannot be reached")
BROKEN = CallFault(failure.UNAVAILABLE, "the connection broke")
NOT_IN_TIME = CallFault(failure.UNAVAILABLE, "no connection in time")
WRONG_PROTOCOL = CallFault(failure.UNAVAILABLE, "what it sent is not the protocol of its address")
TLS_FAILED = CallFault(failure.UNAVAILABLE, "the TLS handshake failed")
NOT_TRUSTED = CallFault(failure.UNTRUSTED, "its certificate is not trusted")
EXPIRED = CallFault(failure.UNTRUSTED, "its certificate has expired, or is not valid yet")
OTHER_NAME = CallFault(failure.UNTRUSTED, "its certificate is for another host")
NO_TLS = CallFault(failure.UNTRUSTED, "it does not speak TLS")
TLS_REFUSED = CallFault(
    failure.TLS_REFUSED,
    "it ended the connection in the TLS handshake or right after it, as services do that want "
    "another client certificate",
)


def of_exception(error: Exception) -> CallFault:
    """The fault for an error of a socket, of TLS or of the HTTP parser."""
    match error:
        case ssl.SSLCertVerificationError():
            return _of_certificate(error.verify_message)
        case TlsRefusedError():
            return TLS_REFUSED
        case ssl.SSLError():
            return _of_handshake(error.reason or "")
        case socket.gaierror():
            return UNRESOLVED
        case ConnectionRefusedError():
            return REFUSED
        case ConnectionError():
            return BROKEN
        case OSError():
            return UNREACHABLE
    return WRONG_PROTOCOL


def of_grpc_details(details: str, *, tls: bool) -> CallFault | None:
    """The fault behind the words of gRPC itself; None for the words of a service.

    gRPC does not say whose words they are. The tests run the installed gRPC, so that new words are
    noticed.
    """
    found = (fault for pattern, fault in _GRPC_FAULTS if pattern.search(details))
    if (fault := next(found, None)) is None:
        return None
    if fault is NOT_TRUSTED:
        return _of_certificate(details)
    connecting = _CONNECTING.match(details) is not None
    return TLS_REFUSED if fault is BROKEN and tls and connecting else fault


def is_before_call(details: str) -> bool:
    """Whether gRPC's words, on a channel without a connection, say that nothing was sent."""
    return _BEFORE_CALL.match(details) is not None


def without_addresses(text: str) -> str:
    """The words of a service, in which a proxy may have named what is behind it."""
    return _ADDRESS.sub("[address]", text)


class FaultLog:
    """Logs ``service_call_failed`` with the words of the library; a lasting cause once a minute.

    Args:
        service: the name of the service.
        address: scheme, host and port.
        clock: seconds; it never goes back.
    """

    def __init__(
        self, service: str, address: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = service
        self._address = address
        self._clock = clock
        self._next_s: dict[str, float] = {}

    def tell(self, fault: CallFault, reason: object) -> None:
        """Log a fault, unless it was logged a short time ago."""
        now_s = self._clock()
        if now_s < self._next_s.get(fault.said, now_s):
            return
        self._next_s[fault.said] = now_s + LOG_INTERVAL_S
        log.warning(
            "service_call_failed",
            service=self._service,
            address=self._address,
            code=fault.verdict.code,
            reason=failure.one_line(str(reason) or type(reason).__name__),
        )


def _of_certificate(words: str) -> CallFault:
    if re.search("hostname mismatch|ip address mismatch", words, re.IGNORECASE):
        return OTHER_NAME
    return EXPIRED if re.search("expired|not yet valid", words) else NOT_TRUSTED


def _of_handshake(reason: str) -> CallFault:
    if "ALERT" in reason:
        return TLS_REFUSED
    return NO_TLS if reason in _NOT_TLS else TLS_FAILED


# What OpenSSL says about an answer in the clear, which differs by its version.
_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
)

_CONNECTING = re.compile(r"failed to connect to all addresses")
_BEFORE_CALL = re.compile(r"failed to connect to all addresses|errors resolving |DNS resolution f")
# The first pattern that is found decides.
_GRPC_FAULTS = tuple(
    (re.compile(pattern), fault)
    for pattern, fault in (
        (r"^errors resolving |^DNS resolution failed", UNRESOLVED),
        (r"OPENSSL_internal:CERTIFICATE_VERIFY_FAILED", NOT_TRUSTED),
        (r"Hostname Verification Check failed", OTHER_NAME),
        (r"OPENSSL_internal:(WRONG_VERSION_NUMBER|HTTP_REQUEST)", NO_TLS),
        (r"OPENSSL_internal:\w*ALERT", TLS_REFUSED),
        (r"Tls handshake failed|Ssl handshake failed", TLS_FAILED),
        (r"failed to connect to all addresses.*Connection refused", REFUSED),
        (
            r"failed to connect to all addresses.*"
            # The last is an alert that came after the handshake, as TLS 1.3 has it.
            r"(Socket closed|reset by peer|Broken pipe|Unwrap failed)",
            BROKEN,
        ),
        (r"failed to connect to all addresses.*(HTTP/2|http1)", WRONG_PROTOCOL),
        (r"^failed to connect to all addresses", UNREACHABLE),
        (
            r"^(Socket closed|recvmsg:|sendmsg:|Stream removed|Connection reset|Unwrap failed)",
            BROKEN,
        ),
        (r"^(keepalive watchdog|ping timeout)", BROKEN),
        (r"^(Failed parsing HTTP/2|Received http2 header with status)", WRONG_PROTOCOL),
    )
)

_ADDRESS = re.compile(
    r"""
    \b[a-z][a-z0-9+.-]*://[^\s"'<>)\]]+           # a URL
    | \b(?:ipv[46]|unix|dns):[^\s"',;)]+          # as gRPC writes addresses
    | \[[0-9A-Fa-f:.%]{2,}\](?::\d+)?             # IPv6
    | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b        # IPv4
    | \b[\w-]+(?:\.[\w-]+)*\.[A-Za-z][\w-]*:\d{2,5}\b   # a host with a dot, and its port
    | \blocalhost:\d{1,5}\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
