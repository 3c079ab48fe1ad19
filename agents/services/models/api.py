"""Calls of OpenAI's API over HTTP: one POST on a connection of its own, and what it answers.

A connection is closed after its call: an answer cannot be taken for that of another call, and a
cancel ends the stream at once. Beside the time of a model the time of a handshake is small.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import httpx
import msgspec

from agents.services import connection_faults, failure
from agents.services.connection_faults import FaultLog
from agents.services.failure import ServiceError, Verdict
from agents.services.headers import ServiceHeaders
from agents.services.models import refusals
from agents.services.models.answer import Part
from agents.services.models.event_stream import EventDecoder, StreamTooLargeError
from agents.services.models.exchange import ModelExchange
from agents.services.models.rates import rates_of, retry_after_ms
from agents.services.sending import IDEMPOTENCY_KEY, sendable_trace
from agents.services.service_tls import ServiceTls
from agents.services.single_connection import name_server, single_connection

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
_ERROR_BODY_S = 2.0
_ERROR_BODY_MAX_BYTES = 16 * 1024
_STREAM_OVERHEAD = 64
"""A stream may be so many times larger than the text in it: an event holds a few characters."""
_DONE = b"[DONE]"
_NO_ADDRESS = "the address of the instance cannot be used"
_EVENTS = "text/event-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTimes:
    """How long a model may be silent, in seconds."""

    first_token_s: float = 60.0
    between_tokens_s: float = 20.0


class ModelApi:
    """The API of one server.

    Args:
        url: ``http(s)://host:port/v1``, without a slash at the end.
        service: the name for errors, as the pipeline knows it.
        max_message_bytes: size of a request and of the text of an answer, inclusive.
        times: how long a model may be silent.
        tls: for ``https``.
        headers: sent with each call, such as the key.
        server_name: of the certificate and of the header ``Host``; None: the host of the URL.
    """

    def __init__(
        self,
        url: str,
        *,
        service: str,
        max_message_bytes: int,
        times: ModelTimes,
        tls: ServiceTls | None = None,
        headers: ServiceHeaders | None = None,
        server_name: str | None = None,
    ) -> None:
        self._url = url
        self._server_name = server_name
        self._service = service
        self.max_bytes = max_message_bytes
        """Size of a request and of the text of an answer, inclusive."""
        self._times = times
        self._tls = tls
        self._headers = headers or ServiceHeaders()
        self._faults = FaultLog(service, "/".join(url.split("/", 3)[:3]))
        self._closed = False
        self._open: set[httpx.AsyncClient] = set()

    async def close(self) -> None:
        """Close all connections; calls in flight fail. Idempotent."""
        self._closed = True
        for http in list(self._open):
            await http.aclose()

    @asynccontextmanager
    async def posted(
        self, path: str, body: bytes, exchange: ModelExchange
    ) -> AsyncIterator[httpx.Response]:
        """Post a body on a connection of its own; failures of every kind become ServiceErrors."""
        if self._closed:
            raise self.error(failure.UNAVAILABLE, "the client is closed", called=False)
        if len(body) > self.max_bytes:
            raise self.error(failure.UNSENDABLE, f"the request has {len(body)} bytes")
        headers = [
            ("content-type", "application/json"),
            ("accept", f"{_EVENTS}, application/json"),
            ("accept-encoding", "identity"),
            (IDEMPOTENCY_KEY, exchange.request.idempotency_key),
            *sendable_trace(exchange.request.trace),
            *self._headers.current(),
        ]
        url = self._url + path
        async with self._client() as http:
            try:
                asked = http.build_request("POST", url, content=body, headers=headers)
                name_server(asked, self._server_name)
                response = await self._first(self._sent(http, asked, exchange))
                exchange.rates = rates_of(response.headers, now_s=time.time())
                exchange.refused = response.status_code != 200
                await self._check(response)
                yield response
            except (httpx.InvalidURL, UnicodeError) as error:
                raise self.error(failure.UNAVAILABLE, _NO_ADDRESS, called=False) from error
            except (httpx.HTTPError, httpx.StreamError, OSError) as error:
                fault = connection_faults.of_exception(_cause(error))
                self._faults.tell(fault, f"{type(error).__name__}: {error}")
                called = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                exchange.sent = called
                raise self.error(fault.verdict, fault.said, called=called) from None

    async def parts(self, response: httpx.Response) -> AsyncIterator[Part]:
        """The parts of an answer, streamed or whole; a silent model is given up."""
        if not response.headers.get("content-type", "").startswith(_EVENTS):
            yield await self.decoded(response, Part)
            return
        stream = EventDecoder(
            event_max_bytes=self.max_bytes, max_bytes=self.max_bytes * _STREAM_OVERHEAD
        )
        pieces = response.aiter_raw().__aiter__()
        wait_s = self._times.first_token_s
        try:
            while (piece := await self._next(pieces, wait_s)) is not None:
                wait_s = self._times.between_tokens_s
                for data in stream.feed(piece):
                    if data.strip() == _DONE:
                        return
                    yield self._part(data)
        except StreamTooLargeError:
            raise self.error(failure.RESPONSE_TOO_LARGE, "the stream is too large") from None

    async def decoded(self, response: httpx.Response, kind: type[T]) -> T:
        """The body of an answer that is not streamed; a silent model is given up."""
        content = await self._whole(response)
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if not {"content-length", "transfer-encoding"} & response.headers.keys():
                # Without a length nobody can tell a bad answer from the beginning of a good one.
                raise self.error(failure.UNAVAILABLE, "the answer is cut off") from None
            raise self.error(failure.RESPONSE_INVALID, str(error)) from None

    def error(
        self,
        verdict: Verdict,
        message: str,
        *,
        retry_after_ms: int | None = None,
        called: bool = True,
    ) -> ServiceError:
        """A failure of this service."""
        return ServiceError(
            verdict,
            f"{self._service}: {message}",
            service=self._service,
            retry_after_ms=retry_after_ms,
            called=called,
        )

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        http = single_connection(self._tls, httpx.Timeout(None, connect=CONNECT_TIMEOUT_S))
        self._open.add(http)
        try:
            yield http
        finally:
            self._open.discard(http)
            await http.aclose()

    async def _check(self, response: httpx.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise self.error(failure.RESPONSE_INVALID, "the answer is encoded")
        if response.status_code == 200:
            return
        body = await self._error_body(response)
        verdict, message = refusals.verdict_of(response.status_code, body)
        after_ms = retry_after_ms(response.headers, now_s=time.time())
        raise self.error(verdict, message, retry_after_ms=after_ms)

    async def _error_body(self, response: httpx.Response) -> bytes:
        """The beginning of a failure's body; what has come, if the rest does not come soon."""
        content = bytearray()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(_ERROR_BODY_S, self._times.first_token_s)):
                async for piece in response.aiter_raw():
                    content += piece
                    if len(content) >= _ERROR_BODY_MAX_BYTES:
                        break
        return bytes(content[:_ERROR_BODY_MAX_BYTES])

    async def _sent(
        self, http: httpx.AsyncClient, asked: httpx.Request, exchange: ModelExchange
    ) -> httpx.Response:
        """Send a request, and note when the server can have got some of it."""

        async def trace(event: str, _info: object) -> None:
            if event.endswith("send_request_body.started"):
                exchange.sent = True

        asked.extensions["trace"] = trace
        return await http.send(asked, stream=True)

    async def _whole(self, response: httpx.Response) -> bytes:
        content = bytearray()
        pieces = response.aiter_raw().__aiter__()
        while (piece := await self._next(pieces, self._times.first_token_s)) is not None:
            content += piece
            if len(content) > self.max_bytes:
                raise self.error(failure.RESPONSE_TOO_LARGE, "the answer is too large")
        return bytes(content)

    async def _first(self, answer: Awaitable[T]) -> T:
        """The head of an answer: many servers send it with the first token."""
        return await self._spoken(answer, self._times.first_token_s)

    async def _next(self, pieces: AsyncIterator[bytes], wait_s: float) -> bytes | None:
        """The next bytes; None at the end."""
        return await self._spoken(anext(pieces, None), wait_s)

    async def _spoken(self, something: Awaitable[T], wait_s: float) -> T:
        try:
            async with asyncio.timeout(wait_s):
                return await something
        except TimeoutError:
            raise self.error(refusals.STALLED, f"no token in {wait_s:g} s") from None

    def _part(self, data: bytes) -> Part:
        try:
            return msgspec.json.decode(data, type=Part)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self.error(failure.RESPONSE_INVALID, str(error)) from None


def _cause(error: Exception) -> Exception:
    """The error of the socket or of TLS below one of the library; the error itself without one."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, OSError):
            return below
        below = below.__cause__ or below.__context__
    return OSError(type(error).__name__)
