"""A service behind the generic contract by HTTP and JSON: one POST is one attempt.

The contract is in ``docs/services.md``. The client does not retry or follow redirects: it
reports a failed attempt, and the router decides about the next one.
"""

import asyncio
import time

import h11

from agents.services import connection_faults, failure, json_wire, wire
from agents.services.client import OnChunk, StepRequest, StepResponse
from agents.services.connection_faults import FaultLog, TlsRefusedError, without_addresses
from agents.services.failure import ServiceError, Verdict
from agents.services.headers import ServiceHeaders
from agents.services.http_connection import AnswerTooLargeError, Headers, HttpAnswer
from agents.services.http_pool import ConnectTimeoutError, HttpPool
from agents.services.sending import (
    IDEMPOTENCY_KEY,
    is_sendable,
    sendable_trace,
)
from agents.services.service_tls import ServiceTls
from streams.cancellation import this_task_is_cancelled

TIMEOUT_HEADER = "x-timeout-ms"


class HttpStepClient:
    """A :class:`~agents.services.client.StepClient` over a pool of kept connections.

    Connects at the first call, and again whenever no open connection is free. Belongs to the
    event loop of its first call. Proxy variables are ignored: services are reached directly.
    A connection with unexpected bytes is closed, so that an answer never goes to another call.
    HTTP/1.1 cannot show a response that comes a second time while the next call runs; this is
    detected if the service repeats ``idempotency-key`` in its answers.

    Args:
        url: ``http://`` or ``https://``, the address to which each attempt is posted.
        service: the name for errors, as the pipeline knows it.
        max_message_bytes: size of a request's and of an answer's body, inclusive.
        tls: for ``https://``; None: public authorities, and no certificate of ours.
        headers: sent with each call.
        server_name: of the certificate and of the header ``Host``; None: the host of the URL.
    """

    def __init__(
        self,
        url: str,
        *,
        service: str,
        max_message_bytes: int,
        tls: ServiceTls | None = None,
        headers: ServiceHeaders | None = None,
        server_name: str | None = None,
    ) -> None:
        self._url = url
        self._server_name = server_name
        self._tls = tls
        self._headers = headers or ServiceHeaders()
        # Without path and query, which may hold a key.
        self._faults = FaultLog(service, "/".join(url.split("/", 3)[:3]))
        self._service = service
        self._max_message_bytes = max_message_bytes
        self._pool: HttpPool | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"HttpStepClient({self._service!r} at {self._url})"

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        """Run one attempt, as :class:`~agents.services.client.StepClient` promises.

        The service has ``request.timeout_s`` from the moment at which the request is sent;
        ``x-timeout-ms`` carries this time. Connecting takes at most ``CONNECT_TIMEOUT_S`` before
        that. A cancelled call closes its connection. ``on_chunk`` is never called: only gRPC
        streams.
        """
        del on_chunk
        if request.timeout_s <= 0:
            raise self._error(failure.TIMED_OUT, "there was no time left for the call")
        body, headers = self._encode(request)
        try:
            answer = await self._exchange(body, headers, request.timeout_s)
            self._check_owner(answer, request)
            return self._response(answer)
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
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _encode(self, request: StepRequest) -> tuple[bytes, Headers]:
        if not is_sendable(request.idempotency_key):
            raise self._error(failure.UNSENDABLE, "the idempotency key is not printable ASCII")
        try:
            body = json_wire.encode(request)
        except (ValueError, TypeError) as error:
            # Without the error's own text, which quotes the bad text.
            reason = f"a field cannot be encoded ({type(error).__name__})"
            raise self._error(failure.UNSENDABLE, reason) from None
        if len(body) > self._max_message_bytes:
            raise self._error(
                failure.UNSENDABLE,
                f"the request has {len(body)} bytes, at most {self._max_message_bytes} may be",
            )
        headers = [
            *sendable_trace(request.trace),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("accept", "application/json"),
            # A small answer that decompresses to gigabytes would pass every limit.
            ("accept-encoding", "identity"),
            (IDEMPOTENCY_KEY, request.idempotency_key),
            (TIMEOUT_HEADER, str(max(1, int(request.timeout_s * 1000)))),
            *self._headers.current(),
        ]
        return body, [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]

    def _connections(self) -> HttpPool:
        if self._closed:
            raise self._error(failure.UNAVAILABLE, "the client is closed", called=False)
        if self._pool is None:
            try:
                self._pool = HttpPool(
                    self._url,
                    max_bytes=self._max_message_bytes,
                    tls=self._tls,
                    server_name=self._server_name,
                )
            except ValueError as error:
                raise self._error(failure.UNSENDABLE, "the URL is wrong") from error
        return self._pool

    async def _exchange(self, body: bytes, headers: Headers, timeout_s: float) -> HttpAnswer:
        pool = self._connections()
        try:
            connection = await pool.acquire()
        except OSError as error:
            if this_task_is_cancelled():
                raise asyncio.CancelledError from error
            raise self._error_of(error, called=False) from error
        try:
            host = (b"host", pool.authority.encode("ascii"))
            return await connection.exchange([host, *headers], pool.target, body, timeout_s)
        except (ConnectionResetError, BrokenPipeError) as error:
            if pool.is_secure and not connection.was_heard:
                raise TlsRefusedError(str(error)) from error
            raise
        finally:
            pool.release(connection)

    def _check_owner(self, answer: HttpAnswer, request: StepRequest) -> None:
        """Refuse an answer whose ``idempotency-key`` names another call."""
        named = answer.header(IDEMPOTENCY_KEY.encode())
        if named is not None and named != request.idempotency_key:
            # Its connection is one answer behind: the next answer would be a wrong one as well.
            self._connections().close_idle()
            raise self._error(failure.UNAVAILABLE, "the answer belongs to another call")

    def _response(self, answer: HttpAnswer) -> StepResponse:
        content = self._content(answer)
        try:
            return wire.decode(json_wire.decode(content))
        except ValueError as error:
            if answer.ended_by_close:
                # Without a length nobody can tell a bad answer from the beginning of a good one.
                raise ConnectionResetError("the connection ended in the answer") from error
            raise

    def _content(self, answer: HttpAnswer) -> bytes:
        if not 200 <= answer.status < 300:
            raise self._error_of_status(answer)
        if (answer.header(b"content-encoding") or "identity").lower() != "identity":
            raise self._error(failure.RESPONSE_INVALID, "the answer is compressed")
        return bytes(answer.content)

    def _error_of_status(self, answer: HttpAnswer) -> ServiceError:
        code, message = json_wire.failure_of(bytes(answer.content))
        detail_code = failure.detail_code_of(code)
        said = f"HTTP {answer.status}" + (f" {detail_code}" if detail_code else "")
        return self._error(
            failure.verdict_of_http(answer.status),
            f"{said}: {without_addresses(message)}" if message else said,
            detail_code=detail_code,
            retry_after_ms=failure.retry_after_ms(answer.header(b"retry-after"), now_s=time.time()),
        )

    def _error_of(self, error: Exception, *, called: bool = True) -> ServiceError:
        if isinstance(error, AnswerTooLargeError):
            largest = self._max_message_bytes
            return self._error(
                failure.RESPONSE_TOO_LARGE, f"the answer has more than {largest} bytes"
            )
        verdict = failure.verdict_of_exception(error)
        if verdict is failure.TIMED_OUT:
            return self._error(verdict, "no answer in time")
        if isinstance(error, ConnectTimeoutError):
            fault = connection_faults.NOT_IN_TIME
        elif isinstance(error, OSError | h11.RemoteProtocolError):
            fault = connection_faults.of_exception(error)
        else:
            return self._error(verdict, f"{type(error).__name__}: {error}")
        self._faults.tell(fault, f"{type(error).__name__}: {error}")
        return self._error(fault.verdict, fault.said, called=called)

    def _error(
        self,
        verdict: Verdict,
        message: str,
        *,
        detail_code: str | None = None,
        retry_after_ms: int | None = None,
        called: bool = True,
    ) -> ServiceError:
        return ServiceError(
            verdict,
            f"{self._service}: {message}",
            service=self._service,
            detail_code=detail_code,
            retry_after_ms=retry_after_ms,
            called=called,
        )


# The documented errors, and errors of lower layers that could come through.
_LIBRARY_ERRORS = (
    AnswerTooLargeError,
    h11.ProtocolError,
    OSError,  # includes TimeoutError
    ValueError,
)
