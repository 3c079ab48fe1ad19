"""What both clients need of httpx: headers, bounds, and errors without an answer."""

from collections.abc import Sequence

import httpx

from ai_orchestrator.client.errors import UnavailableError

DEFAULT_URL = "http://127.0.0.1:8000"
SILENCE_S = 60.0
"""A stream without a byte for this time is given up; the service sends one every 15 s."""
_CONNECT_S = 5.0


def urls_of(urls: Sequence[str]) -> Sequence[str]:
    """The addresses of the replicas."""
    return urls or [DEFAULT_URL]


def headers_of(key: str | None, tenant: str | None) -> dict[str, str]:
    """The headers of every call."""
    headers = {"accept": "application/json"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    if tenant is not None:
        headers["orchestrator-tenant"] = tenant
    return headers


def timeout_of(timeout_s: float) -> httpx.Timeout:
    """The bounds of one attempt."""
    return httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))


def stream_timeout(left_s: float) -> httpx.Timeout:
    """The bounds of a stream that is wanted for this time."""
    return timeout_of(max(0.05, min(left_s, SILENCE_S)))


def unreachable(error: httpx.HTTPError) -> UnavailableError:
    """The error for a call without an answer."""
    sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    said = f"no answer: {type(error).__name__}"
    return UnavailableError("API_UNAVAILABLE", said, sent=sent)
