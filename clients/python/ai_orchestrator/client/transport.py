"""What both clients need of httpx: headers, bounds, and errors without an answer."""

import time
from collections.abc import Sequence

import httpx

from ai_orchestrator.client.errors import FaultError, UnavailableError

DEFAULT_URL = "http://127.0.0.1:8000"
SILENCE_S = 60.0
"""A stream without a byte for this time is given up; the service sends one every 15 s."""
ANSWER_MAX_BYTES = 64 * 1024 * 1024
FAILURE_MAX_BYTES = 64 * 1024
"""So much of the body of a failure is read."""
NOT_KEPT = httpx.Limits(max_keepalive_connections=0)
"""Each call has a connection of its own: the pool of httpx takes bytes that come behind an answer
for the answer to the next call."""
_CONNECT_S = 5.0


def urls_of(urls: Sequence[str]) -> Sequence[str]:
    """The addresses of the replicas.

    Raises:
        ValueError: one of them is none.
    """
    for url in urls:
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise ValueError(
                f"{url!r:.80} is no address: give one or several, "
                'as Client("http://a:8000", "http://b:8000")'
            )
    return urls or [DEFAULT_URL]


def headers_of(key: str | None, tenant: str | None) -> dict[str, str]:
    """The headers of every call."""
    # A small answer that decompresses to gigabytes would pass every limit.
    headers = {"accept": "application/json", "accept-encoding": "identity"}
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


def late() -> UnavailableError:
    """The error for an answer that is not whole in time."""
    return UnavailableError("API_UNAVAILABLE", "no answer in time")


class AnswerBody:
    """The body of an answer as it comes, bounded in size and time.

    Args:
        answer: its head has come.
        until_s: of ``time.monotonic``.

    Raises:
        FaultError: the answer is compressed, which was not asked for.
    """

    def __init__(self, answer: httpx.Response, until_s: float) -> None:
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise FaultError("ANSWER_INVALID", "the answer is compressed")
        self._is_failure = not 200 <= answer.status_code < 300
        self._until_s = until_s
        self._size = 0
        self._parts: list[bytes] = []

    @property
    def content(self) -> bytes:
        """What has come."""
        return b"".join(self._parts)

    def add(self, part: bytes) -> bool:
        """Take a part; return whether enough is known.

        Raises:
            FaultError: the answer is too large.
            UnavailableError: the time is over.
        """
        if time.monotonic() > self._until_s:
            raise late()
        self._parts.append(part)
        self._size += len(part)
        if self._is_failure:
            return self._size >= FAILURE_MAX_BYTES
        if self._size > ANSWER_MAX_BYTES:
            raise FaultError("ANSWER_TOO_LARGE", f"more than {ANSWER_MAX_BYTES} bytes")
        return False
