"""A service behind the generic contract by HTTP and JSON: one POST is one attempt.

The contract is in ``docs/services.md``. No retries and no redirects in here: an attempt that
failed is reported, and the router decides about the next one.
"""

import asyncio
import time
from email.utils import parsedate_to_datetime

import httpx

from agents.services import failure, json_wire, wire
from agents.services.client import OnChunk, StepRequest, StepResponse
from agents.services.failure import ServiceError, Verdict
from agents.services.sending import (
    IDEMPOTENCY_KEY,
    is_sendable,
    sendable_trace,
    this_task_is_cancelled,
)

TIMEOUT_HEADER = "x-timeout-ms"

CONNECT_TIMEOUT_S = 5.0
"""A host that drops packets is away; the attempt ends long before its deadline."""

ERROR_BODY_MAX_BYTES = 16 * 1024
"""So much of a failed answer is looked at."""


class HttpStepClient:
    """A :class:`~agents.services.client.StepClient` over a pool of kept connections.

    Connects at the first call, and again whenever no open connection is free. Belongs to the
    event loop of its first call. Proxy variables are ignored: services are reached directly.

    Args:
        url: ``http://`` or ``https://``, where each attempt is posted to.
        service: the name for errors, as the pipeline knows it.
        max_message_bytes: of a request's and of an answer's body, inclusive.
    """

    def __init__(self, url: str, *, service: str, max_message_bytes: int) -> None:
        self._url = url
        self._service = service
        self._max_message_bytes = max_message_bytes
        self._client: httpx.AsyncClient | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"HttpStepClient({self._service!r} at {self._url})"

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        """Run one attempt, as :class:`~agents.services.client.StepClient` promises.

        The whole answer is awaited for ``request.timeout_s`` and not longer; the service is
        told by ``x-timeout-ms``. A cancelled call closes its connection. ``on_chunk`` is
        never called: only gRPC streams.
        """
        del on_chunk
        if request.timeout_s <= 0:
            raise self._error(failure.TIMED_OUT, "there was no time left for the call")
        body, headers = self._encode(request)
        client = self._connected()
        try:
            async with asyncio.timeout(request.timeout_s):
                return await self._exchange(client, body, headers)
        except asyncio.CancelledError:
            if this_task_is_cancelled():
                raise
            raise self._error(failure.UNAVAILABLE, "the connection was closed") from None
        except ServiceError:
            raise
        except _LIBRARY_ERRORS as error:
            if this_task_is_cancelled():
                raise asyncio.CancelledError from error
            raise self._error_of(error) from error

    async def close(self) -> None:
        """Close all connections. Calls in flight fail as ``SERVICE_UNAVAILABLE``; idempotent."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _encode(self, request: StepRequest) -> tuple[bytes, list[tuple[str, str]]]:
        if not is_sendable(request.idempotency_key):
            raise self._error(failure.UNSENDABLE, "the idempotency key is not printable ASCII")
        try:
            body = json_wire.encode(request)
        except (ValueError, TypeError) as error:
            # Not the error's own text: for bad text it quotes the text.
            reason = f"a field cannot be encoded ({type(error).__name__})"
            raise self._error(failure.UNSENDABLE, reason) from None
        if len(body) > self._max_message_bytes:
            raise self._error(
                failure.UNSENDABLE,
                f"the request has {len(body)} bytes, at most {self._max_message_bytes} may be",
            )
        return body, [
            *sendable_trace(request.trace),
            ("content-type", "application/json"),
            ("accept", "application/json"),
            # A small answer that unpacks to gigabytes would pass every limit.
            ("accept-encoding", "identity"),
            (IDEMPOTENCY_KEY, request.idempotency_key),
            (TIMEOUT_HEADER, str(max(1, int(request.timeout_s * 1000)))),
        ]

    def _connected(self) -> httpx.AsyncClient:
        if self._closed:
            raise self._error(failure.UNAVAILABLE, "the client is closed")
        if self._client is None:
            self._client = httpx.AsyncClient(
                trust_env=False,
                follow_redirects=False,
                # The slots of the worker bound the calls; the pool must not be a second queue.
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
                # One bound for the whole call: asyncio.timeout around it.
                timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            )
        return self._client

    async def _exchange(
        self, client: httpx.AsyncClient, body: bytes, headers: list[tuple[str, str]]
    ) -> StepResponse:
        async with client.stream("POST", self._url, content=body, headers=headers) as response:
            if not response.is_success:
                raise self._error_of_status(response, await _start_of(response))
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise self._error(failure.RESPONSE_INVALID, "the answer is compressed")
            content = await self._content(response)
        return wire.decode(json_wire.decode(content))

    async def _content(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for piece in response.aiter_raw():
            content += piece
            if len(content) > self._max_message_bytes:
                raise self._error(
                    failure.RESPONSE_TOO_LARGE,
                    f"the answer has more than {self._max_message_bytes} bytes",
                )
        return bytes(content)

    def _error_of_status(self, response: httpx.Response, start: bytes) -> ServiceError:
        code, message = json_wire.failure_of(start)
        detail_code = failure.detail_code_of(code)
        said = f"HTTP {response.status_code}" + (f" {detail_code}" if detail_code else "")
        return self._error(
            failure.verdict_of_http(response.status_code),
            f"{said}: {message}" if message else said,
            detail_code=detail_code,
            retry_after_ms=retry_after_ms(response.headers.get("retry-after"), now_s=time.time()),
        )

    def _error_of(self, error: Exception) -> ServiceError:
        verdict = failure.verdict_of_exception(error)
        if verdict is failure.TIMED_OUT:
            return self._error(verdict, "no answer in time")
        return self._error(verdict, f"{type(error).__name__}: {error}")

    def _error(
        self,
        verdict: Verdict,
        message: str,
        *,
        detail_code: str | None = None,
        retry_after_ms: int | None = None,
    ) -> ServiceError:
        return ServiceError(
            verdict,
            f"{self._service}: {message}",
            service=self._service,
            detail_code=detail_code,
            retry_after_ms=retry_after_ms,
        )


def retry_after_ms(value: str | None, *, now_s: float) -> int | None:
    """Read ``Retry-After``: seconds, or a date; None if it is neither. At most 24 h.

    Source: RFC 9110, 10.2.3.
    """
    if value is None:
        return None
    if value.isascii() and value.isdigit() and len(value) <= _SECONDS_DIGITS_MAX:
        return min(int(value) * 1000, failure.RETRY_AFTER_MAX_MS)
    try:
        wanted_s = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(0, int((wanted_s - now_s) * 1000)), failure.RETRY_AFTER_MAX_MS)


async def _start_of(response: httpx.Response) -> bytes:
    """The begin of a failed answer's body; what cannot be read does not matter."""
    start = bytearray()
    try:
        async for piece in response.aiter_raw():
            start += piece
            if len(start) >= ERROR_BODY_MAX_BYTES:
                break
    except httpx.HTTPError:
        pass  # the status was read, and it decides
    return bytes(start[:ERROR_BODY_MAX_BYTES])


# What httpx documents, and what is below it and could come through.
_LIBRARY_ERRORS = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    OSError,  # TimeoutError is one
    ValueError,
)
_SECONDS_DIGITS_MAX = 15
