"""A service behind the generic gRPC contract (``schemas/proto/services/v1``).

One channel per client, kept open and reopened by gRPC. The client does not retry: it reports a
failed attempt, and the router decides about the next one.
"""

import asyncio
import re
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from agents.services import connection_faults, failure, wire
from agents.services.attempt_clock import CallClock
from agents.services.client import OnChunk, StepRequest, StepResponse
from agents.services.connection_faults import CallFault, FaultLog
from agents.services.failure import ServiceError, Verdict
from agents.services.grpc_channel import GrpcChannels, OpenChannel
from agents.services.headers import ServiceHeaders
from agents.services.sending import (
    IDEMPOTENCY_KEY,
    is_sendable,
    sendable_trace,
)
from agents.services.service_tls import ServiceTls
from schemas.gen.services.v1 import step_service_pb2 as pb
from streams.cancellation import this_task_is_cancelled

if TYPE_CHECKING:  # names of type information only
    _UnaryCall = grpc.aio.UnaryUnaryCall[pb.RunRequest, pb.RunResponse]
    from schemas.gen.services.v1.step_service_pb2_grpc import StepServiceAsyncStub

RETRY_AFTER = "retry-after-ms"
ERROR_CODE = "error-code"
STATUS_DETAILS = "grpc-status-details-bin"
"""A ``google.rpc.Status``; its ``RetryInfo`` is a lower bound, like ``retry-after-ms``."""

TIMEOUT = "x-timeout-ms"

CONNECT_TIMEOUT_S = 5.0
"""A service that does not accept a connection in this time is treated as down."""

DEADLINE_SLACK_S = 1.0
"""gRPC counts a deadline from the making of a call, which is sent one turn of the event loop
later. The deadline that the service sees is later by this, and by the length of the last turn
(at most ``CONNECT_TIMEOUT_S``); ``x-timeout-ms`` is the time that the worker waits."""

NO_STREAM_S = 60.0
"""For this time a service that does not stream is not asked for a stream again."""

Metadata = tuple[tuple[str, str], ...]


class GrpcStepClient:
    """A :class:`~agents.services.client.StepClient` over one reused gRPC channel.

    Connects at the first call, and again after the connection was lost, at most about a
    second after the service is back. While the service is down, calls fail at once. Belongs to
    the event loop of its first call.

    Args:
        address: ``host:port``; a name is resolved again at each reconnect.
        service: the name for errors, as the pipeline knows it.
        max_message_bytes: size of a request and of an answer, inclusive.
        tls: None: in the clear.
        headers: sent with each call.
        server_name: the name that the certificate must be for; None: the host of the address.
    """

    def __init__(
        self,
        address: str,
        *,
        service: str,
        max_message_bytes: int,
        tls: ServiceTls | None = None,
        headers: ServiceHeaders | None = None,
        server_name: str | None = None,
    ) -> None:
        self._address = address
        self._service = service
        self._max_message_bytes = max_message_bytes
        self._is_secure = tls is not None
        self._headers = headers or ServiceHeaders()
        self._channels = GrpcChannels(
            address, tls=tls, max_message_bytes=max_message_bytes, server_name=server_name
        )
        self._faults = FaultLog(service, f"grpc{'s' if tls else ''}://{address}")
        self._closed = False
        self._stream_from_s = 0.0
        """Time of the event loop from which a stream may be asked for."""

    def __repr__(self) -> str:
        return f"GrpcStepClient({self._service!r} at {self._address})"

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        """Run one attempt, as :class:`~agents.services.client.StepClient` promises.

        The service has ``request.timeout_s`` from the moment at which the request is sent;
        ``x-timeout-ms`` carries this time, and gRPC's own deadline is a little later. Connecting
        takes at most ``CONNECT_TIMEOUT_S`` before that.
        """
        if request.timeout_s <= 0:
            raise self._error(failure.TIMED_OUT, "there was no time left for the call")
        message, metadata = self._encode(request)
        try:
            answer = await self._answer(message, metadata, request.timeout_s, on_chunk)
        except TimeoutError:
            raise self._error(failure.TIMED_OUT, "no answer in time") from None
        except asyncio.CancelledError:
            if this_task_is_cancelled():
                raise
            # grpc.aio raises this also when other code closed the channel. Passed on, it would
            # look like a cancellation of the caller, which did not happen.
            raise self._error(failure.UNAVAILABLE, "the connection was closed") from None
        except grpc.aio.AioRpcError as error:
            # A cancellation at the moment when the call ends comes out of grpc.aio as the call's
            # status (even OK); it must not get lost.
            if this_task_is_cancelled():
                raise asyncio.CancelledError from error
            raise self._error_of_status(error) from error
        except (grpc.aio.UsageError, grpc.aio.InternalError) as error:
            raise self._error_of_fault(connection_faults.BROKEN, error) from error
        try:
            return wire.decode(answer)
        except ValueError as error:
            raise self._error(failure.RESPONSE_INVALID, str(error)) from error

    async def close(self) -> None:
        """Close the channel. Calls in flight fail as ``SERVICE_UNAVAILABLE``; idempotent."""
        self._closed = True
        await self._channels.close()

    async def _answer(
        self, message: pb.RunRequest, metadata: Metadata, timeout_s: float, on_chunk: OnChunk | None
    ) -> pb.RunResponse | None:
        if self._closed:
            raise self._error(failure.UNAVAILABLE, "the client is closed", called=False)
        async with self._channels.borrowed() as opened:
            return await self._answer_of(opened, message, metadata, timeout_s, on_chunk)

    async def _answer_of(
        self,
        opened: OpenChannel,
        message: pb.RunRequest,
        metadata: Metadata,
        timeout_s: float,
        on_chunk: OnChunk | None,
    ) -> pb.RunResponse | None:
        slack_s = DEADLINE_SLACK_S + min(await self._reached(opened.channel), CONNECT_TIMEOUT_S)
        is_down = opened.channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        try:
            return await self._sent(opened.stub, message, metadata, timeout_s, slack_s, on_chunk)
        except grpc.aio.AioRpcError as error:
            if not is_down or this_task_is_cancelled():
                raise
            # The words of a fault may be those of a proxy; without a connection they are gRPC's.
            raise self._error_of_status(error, is_down=True) from error

    async def _sent(
        self,
        stub: "StepServiceAsyncStub",
        message: pb.RunRequest,
        metadata: Metadata,
        timeout_s: float,
        slack_s: float,
        on_chunk: OnChunk | None,
    ) -> pb.RunResponse | None:
        loop = asyncio.get_running_loop()
        if on_chunk is None or loop.time() < self._stream_from_s:
            call = stub.Run(message, timeout=timeout_s + slack_s, metadata=metadata)
            return await _in_time(call, timeout_s)
        until_s = loop.time() + timeout_s
        streamed = await self._streamed(stub, message, metadata, timeout_s, slack_s, on_chunk)
        if streamed is not None:
            return streamed
        left_s = max(0.0, until_s - loop.time())
        call = stub.Run(message, timeout=left_s + slack_s, metadata=metadata)
        answer = await _in_time(call, left_s)
        self._stream_from_s = loop.time() + NO_STREAM_S
        return answer

    async def _reached(self, channel: grpc.aio.Channel) -> float:
        """Wait until the service is connected or known to be down; return the turn's length.

        The time that a connection takes does not count as the service's: the attempt is not sent
        yet.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                while (state := channel.get_state(try_to_connect=True)) in _UNDECIDED:
                    await channel.wait_for_state_change(state)
        except TimeoutError:
            reason = f"no connection in {CONNECT_TIMEOUT_S} s"
            fault = connection_faults.NOT_IN_TIME
            raise self._error_of_fault(fault, reason, called=False) from None
        began_s = loop.time()
        await asyncio.sleep(0)
        return loop.time() - began_s

    async def _streamed(
        self,
        stub: "StepServiceAsyncStub",
        message: pb.RunRequest,
        metadata: Metadata,
        timeout_s: float,
        slack_s: float,
        on_chunk: OnChunk,
    ) -> pb.RunResponse | None:
        """Read a stream to its end; chunks are passed on as they come.

        None: the service does not stream. It reported so before any other message, so nothing was
        run, and a call of ``Run`` is still the first call.
        """
        call, read = (
            stub.RunStream(message, timeout=timeout_s + slack_s, metadata=metadata),
            _Read(),
        )
        try:
            with await _clock_of(call, timeout_s, heard=lambda: read.size):
                await self._read(call, read, on_chunk)
        except grpc.aio.AioRpcError as error:
            absent = error.code() is grpc.StatusCode.UNIMPLEMENTED and not read.began
            if not absent or this_task_is_cancelled():
                raise
            return None
        finally:
            if not call.done():
                call.cancel()
        if read.response is None:
            raise self._error(failure.RESPONSE_INVALID, "the stream ended without a response")
        return read.response

    async def _read(
        self, call: AsyncIterable[pb.RunEvent], read: "_Read", on_chunk: OnChunk
    ) -> None:
        async for event in _events(call):
            read.began = True
            if event is None or read.response is not None:
                raise self._error(failure.RESPONSE_INVALID, "the stream breaks the contract")
            if event.WhichOneof("event") == "response":
                read.response = event.response
            elif event.chunk:
                read.size += len(event.chunk)
                if read.size > self._max_message_bytes:
                    raise self._error(failure.RESPONSE_TOO_LARGE, "the chunks are too many")
                on_chunk(event.chunk)

    def _encode(self, request: StepRequest) -> tuple[pb.RunRequest, Metadata]:
        if not is_sendable(request.idempotency_key):
            raise self._error(failure.UNSENDABLE, "the idempotency key is not printable ASCII")
        try:
            message = wire.encode(request)
        except (ValueError, TypeError) as error:
            # Without the error's own text, which quotes the bad text.
            reason = f"a field cannot be encoded ({type(error).__name__})"
            raise self._error(failure.UNSENDABLE, reason) from None
        size_bytes = message.ByteSize()
        if size_bytes > self._max_message_bytes:
            raise self._error(
                failure.UNSENDABLE,
                f"the request has {size_bytes} bytes, at most {self._max_message_bytes} may be",
            )
        return message, (
            (IDEMPOTENCY_KEY, request.idempotency_key),
            (TIMEOUT, str(max(1, int(request.timeout_s * 1000)))),
            *sendable_trace(request.trace),
            *self._headers.current(),
        )

    def _error_of_status(
        self, error: grpc.aio.AioRpcError, *, is_down: bool = False
    ) -> ServiceError:
        trailing = _first_values(error.trailing_metadata())
        detail_code = failure.detail_code_of(trailing.get(ERROR_CODE))
        details = error.details() or ""
        fault = connection_faults.of_grpc_details(details, tls=self._is_secure)
        if fault is not None and error.code() in _LOCAL:
            return self._error_of_fault(
                fault, details, called=not (is_down and connection_faults.is_before_call(details))
            )
        verdict = failure.verdict_of_status(error.code())
        # gRPC's own message (message_size_filter.cc), on both sides; nothing else identifies it.
        # The tests run the installed gRPC, so that a new wording is noticed.
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE.search(details):
            verdict = failure.RESPONSE_TOO_LARGE
        said = f"{error.code().name} {detail_code}" if detail_code else error.code().name
        return self._error(
            verdict,
            f"{said}: {connection_faults.without_addresses(details)}" if details else said,
            detail_code=detail_code,
            retry_after_ms=failure.later_of(
                failure.retry_after_of(trailing.get(RETRY_AFTER)),
                failure.retry_info_of(trailing.get(STATUS_DETAILS)),
            ),
        )

    def _error_of_fault(
        self, fault: CallFault, reason: object, *, called: bool = True
    ) -> ServiceError:
        self._faults.tell(fault, reason)
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


@dataclass(slots=True)
class _Read:
    """The state of a stream that is being read."""

    response: pb.RunResponse | None = None
    size: int = 0
    """Characters of all chunks."""
    began: bool = False


async def _in_time(call: "_UnaryCall", timeout_s: float) -> pb.RunResponse | None:
    """The answer to a call that was just made; TimeoutError if it does not come in time."""
    with await _clock_of(call, timeout_s):
        return await call


async def _clock_of(
    call: "grpc.aio.Call", timeout_s: float, *, heard: Callable[[], int] = lambda: 0
) -> CallClock:
    try:
        # The call is sent in the next turn of the event loop.
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        call.cancel()
        raise
    return CallClock(timeout_s, heard=lambda: heard() + int(call.done()), late=call.cancel)


def _events(call: AsyncIterable[pb.RunEvent]) -> AsyncIterable[pb.RunEvent | None]:
    """The messages of a stream; grpc.aio yields None for bytes that are not a message."""
    return call


def _first_values(metadata: grpc.aio.Metadata | None) -> dict[str, str | bytes]:
    first: dict[str, str | bytes] = {}
    for key, value in metadata or ():
        first.setdefault(key, value)
    return first


_UNDECIDED = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)
# The statuses with which gRPC reports that a call did not get through.
_LOCAL = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.CANCELLED,
)
_TOO_LARGE = re.compile("message larger than max", re.IGNORECASE)
