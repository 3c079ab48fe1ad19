"""One HTTP/1.1 connection on which an answer belongs to its call.

HTTP/1.1 has no number that links a response to its request; only their order does. So a
connection is used again only after an exchange that certainly left nothing behind. The parser
is h11. The pools of httpx, httpcore and aiohttp were tried: each of them passes bytes that came
after a response to the next request.
"""

import asyncio
import select
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import h11

from agents.services.attempt_clock import AttemptClock

HEAD_MAX_BYTES = 64 * 1024
ERROR_BODY_MAX_BYTES = 16 * 1024
"""At most this much is read of the body of a failure."""

Headers = Sequence[tuple[bytes, bytes]]
_OK = range(200, 300)
_BODILESS = (204, 304)


class AnswerTooLargeError(Exception):
    """The body of a success is larger than allowed. The connection is closed."""


@dataclass(slots=True)
class HttpAnswer:
    """A response: the final one, without interim responses."""

    status: int
    headers: Headers
    """Names in lower case, in the order in which they came."""
    ended_by_close: bool = False
    """True if only the end of the connection ended the body: it may be cut off."""
    content: bytearray = field(default_factory=bytearray)
    """The body; for a failure only its first ``ERROR_BODY_MAX_BYTES``."""

    def header(self, name: bytes) -> str | None:
        """The first header of a name, or None."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None


class HttpConnection(asyncio.Protocol):
    """A connection that carries one exchange at a time.

    Args:
        max_bytes: the largest body of a success, inclusive.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX_BYTES)
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[HttpAnswer] | None = None
        self._answer: HttpAnswer | None = None
        self._heard_bytes = 0
        self.was_heard = False
        """True once the service has sent anything."""
        self.version = 0
        """For the pool: that of the TLS files with which it was opened."""
        self._is_clean = False
        """True while the running exchange has left nothing behind."""

    # --- For the pool ---

    async def exchange(
        self, head: Headers, target: str, body: bytes, timeout_s: float
    ) -> HttpAnswer:
        """Post a body and read the answer to it.

        The clock starts when the request was written. After an exchange the caller checks
        ``is_reusable``; a failed exchange has closed the connection.

        Raises:
            TimeoutError: the whole answer did not come in time.
            AnswerTooLargeError: see that class.
            h11.LocalProtocolError: the request cannot be written; nothing was sent.
            h11.RemoteProtocolError: the received bytes are not HTTP.
            OSError: the connection broke, or was closed.
        """
        waiting = self._begin()
        clock: AttemptClock | None = None
        try:
            self._write(head, target, body)
            # Some event loops write at the end of their turn.
            await asyncio.sleep(0)
            clock = AttemptClock(timeout_s, heard=lambda: self._heard_bytes, late=self._late)
            return await waiting
        except BaseException:
            # Nobody awaits it any more: an error in it would be reported as lost.
            waiting.cancel()
            self.close()
            raise
        finally:
            if clock is not None:
                clock.cancel()
            self._waiting = self._answer = None

    @property
    def is_reusable(self) -> bool:
        """True if no exchange runs, the last one left nothing behind, and no bytes came since.

        Checks the socket: a busy process may not have read yet what came meanwhile.
        """
        transport = self._transport
        if transport is None or self._waiting is not None or transport.is_closing():
            return False
        ready = self._parser.our_state is h11.IDLE and self._parser.their_state is h11.IDLE
        return ready and not _is_readable(transport)

    def close(self) -> None:
        """Close at once. A running exchange fails with ``ConnectionAbortedError``; idempotent."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._fail(ConnectionAbortedError("the connection was closed"))

    # --- For the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # Not every event loop derives its transports for TLS from asyncio's class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the running exchange; close if no exchange runs."""
        self.was_heard = True
        if self._waiting is None or self._waiting.done() or self._transport is None:
            # Unrequested bytes. They would be taken for the answer to the next call.
            self.close()
            return
        if self._heard_bytes == 0 and self._transport.get_write_buffer_size() > 0:
            self._is_clean = False  # an answer to a request that the service has not read
        self._heard_bytes += len(data)
        self._parse(data)

    def eof_received(self) -> bool:
        """Close: a half-closed connection cannot be used."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """End the running exchange: with its answer if the end of the connection completes it."""
        self._transport = None
        if self._answer is not None and error is None:
            self._answer.ended_by_close = True
            self._parse(b"")  # completes an answer that has no length
        self._fail(error or ConnectionResetError("the connection ended before the answer did"))

    # --- One exchange ---

    def _begin(self) -> asyncio.Future[HttpAnswer]:
        if self._waiting is not None:
            raise RuntimeError("the connection is in use")
        self._waiting = asyncio.get_running_loop().create_future()
        self._answer, self._heard_bytes, self._is_clean = None, 0, True
        return self._waiting

    def _write(self, head: Headers, target: str, body: bytes) -> None:
        if self._transport is None:
            raise ConnectionResetError("the connection is closed")
        send = self._parser.send
        request = h11.Request(method=b"POST", target=target, headers=list(head))
        # For an empty body h11 writes nothing.
        pieces = (send(request), send(h11.Data(data=body)), send(h11.EndOfMessage()))
        self._transport.write(b"".join(piece or b"" for piece in pieces))

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.receive_data(data)
            while self._waiting is not None and not self._waiting.done():
                event = self._parser.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return
                self._take(event)
        except h11.RemoteProtocolError as error:
            self._fail(error)
            self.close()

    def _take(self, event: object) -> None:
        match event:
            case h11.InformationalResponse():
                # We never ask for an interim response. A server that sends one may also send
                # one too many.
                self._is_clean = False
            case h11.Response():
                self._answer = HttpAnswer(event.status_code, list(event.headers))
                self._is_clean = self._is_clean and not _is_ambiguous(self._answer)
            case h11.Data():
                self._add(bytes(event.data))
            case _:  # the end of the message, or of the connection
                self._end()

    def _add(self, piece: bytes) -> None:
        answer = self._answer
        assert answer is not None  # h11 returns the head first
        answer.content += piece
        is_success = answer.status in _OK
        if len(answer.content) <= (self._max_bytes if is_success else ERROR_BODY_MAX_BYTES):
            return
        if is_success:
            self._fail(AnswerTooLargeError())
            return
        del answer.content[ERROR_BODY_MAX_BYTES:]
        self._succeed(answer)
        self.close()

    def _end(self) -> None:
        answer, parser = self._answer, self._parser
        assert answer is not None
        self._succeed(answer)
        left, is_closed = parser.trailing_data
        both_done = parser.our_state is h11.DONE and parser.their_state is h11.DONE
        if both_done and self._is_clean and not left and not is_closed:
            parser.start_next_cycle()
        else:
            self.close()

    def _late(self) -> None:
        self._fail(TimeoutError())

    def _succeed(self, answer: HttpAnswer) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    def _fail(self, error: BaseException) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


def _is_ambiguous(answer: HttpAnswer) -> bool:
    """True if another parser could see a different end of this answer than h11 does.

    Source: RFC 9112, 6.3.
    """
    sized, coded = answer.header(b"content-length"), answer.header(b"transfer-encoding")
    if answer.status in _BODILESS:
        return coded is not None or sized not in (None, "0")
    return sized is not None and coded is not None


def _is_readable(transport: asyncio.Transport) -> bool:
    """True if unread bytes, or the end of the connection, have arrived."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))
