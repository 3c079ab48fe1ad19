"""The metadata of a request on any transport: the key, the trace; and cancellation."""

import re
from collections.abc import Mapping

IDEMPOTENCY_KEY = "idempotency-key"


def is_sendable(value: str) -> bool:
    """True if a header can hold the value: printable ASCII, 1 to 8192 characters."""
    return _VALUE.fullmatch(value) is not None


def sendable_trace(trace: Mapping[str, str]) -> list[tuple[str, str]]:
    """The trace headers that can be sent; a broken trace must not fail a step."""
    return [
        (key, value)
        for key, value in trace.items()
        if _KEY.fullmatch(key)
        and not key.startswith("grpc-")
        and not key.endswith("-bin")
        and key not in _OURS
        and is_sendable(value)
    ]


def is_allowed_name(name: str) -> bool:
    """True if an installation may add a header of this name (in lower case) to its calls.

    Not allowed: what we set, what belongs to a connection, and what gRPC keeps for itself.
    """
    return (
        _KEY.fullmatch(name) is not None
        and not name.startswith("grpc-")
        and not name.endswith("-bin")
        and name not in _OURS | _OF_TRACES | _OF_CONNECTIONS
    )


# Source: gRPC over HTTP2, "Requests": Header-Name and ASCII-Value.
_KEY = re.compile(r"[a-z0-9_.-]+")
_VALUE = re.compile(r"[\x20-\x7e]{1,8192}")
# A trace must not replace headers that affect the call or its framing.
_OURS = {
    IDEMPOTENCY_KEY,
    "x-timeout-ms",
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
}
_OF_TRACES = {"traceparent", "tracestate", "baggage"}
# Source: RFC 9110, 7.6.1.
_OF_CONNECTIONS = {
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "trailer",
    "user-agent",
    "content-encoding",
}
