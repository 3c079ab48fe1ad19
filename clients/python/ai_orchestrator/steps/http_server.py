"""The contract over HTTP/1.1 with JSON: one POST is one call. h11 reads and writes the bytes."""

import asyncio
import logging
import math
import socket
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import h11
import msgspec

from ai_orchestrator.steps.call import Call, Substep, UsageReport
from ai_orchestrator.steps.declaring import Steps
from ai_orchestrator.steps.failure import CallFailedError, Kind
from ai_orchestrator.steps.running import Answer, answer_call

MESSAGE_MAX_BYTES = 2 * 1024 * 1024
_REQUEST_S = 30.0
"""Seconds that a request may take to arrive, from its first byte."""
_READ_BYTES = 64 * 1024
_TIMEOUT_DIGITS_MAX = 12

_log = logging.getLogger("ai_orchestrator.steps")


class _Request(msgspec.Struct):
    method: str
    input: msgspec.Raw
    task_id: str = ""
    run: int = 1
    step: str = ""
    attempt: int = 1
    tenant_id: str = ""
    conversation_id: str | None = None


class _Reply(msgspec.Struct, omit_defaults=True):
    output: msgspec.Raw
    usage: UsageReport | None = None
    substeps: tuple[Substep, ...] = ()


class HttpSteps:
    """Serves steps over HTTP. A connection that the caller closes cancels its call.

    ``GET`` of any path answers 204: a check of the service's health.

    Args:
        steps: asked anew for each call, so that changed steps are served at once.
        executor: the threads for plain functions.
    """

    def __init__(self, steps: Callable[[], Steps], executor: Executor) -> None:
        self._steps = steps
        self._executor = executor
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> int:
        """Listen; return the port, which is a free one for 0.

        Raises:
            OSError: the port is taken.
        """
        self._server = await asyncio.start_server(self._serve, host, port)
        listening: socket.socket = self._server.sockets[0]
        return int(listening.getsockname()[1])

    async def close(self) -> None:
        """Stop listening, and cancel the calls that run."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await _Connection(self._steps, self._executor, reader, writer).run()
        except (ConnectionError, TimeoutError, h11.ProtocolError, asyncio.CancelledError):
            # The caller went away or does not speak HTTP/1.1, or the server closes.
            _log.debug("connection ended", exc_info=True)
        finally:
            self._connections.discard(task)
            writer.close()


class _Connection:
    """One connection: call after call."""

    def __init__(
        self,
        steps: Callable[[], Steps],
        executor: Executor,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._steps = steps
        self._executor = executor
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        while True:
            first = await self._reader.read(_READ_BYTES)
            if not first:
                return
            self._http.receive_data(first)
            async with asyncio.timeout(_REQUEST_S):
                head, body = await self._request()
            await self._exchange(head, body)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()
            if self._http.trailing_data[0]:
                return  # callers of this contract send one request at a time

    async def _request(self) -> tuple[h11.Request, bytes | None]:
        """The next request; its body is None if it is too large."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    self._writer.write(self._http.send(go_on) or b"")
                self._http.receive_data(await self._reader.read(_READ_BYTES))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MESSAGE_MAX_BYTES:
                    assert head is not None
                    return head, None
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return head, bytes(body)
            else:
                raise ConnectionResetError("the caller closed in the middle of a request")

    async def _exchange(self, head: h11.Request, body: bytes | None) -> None:
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        if head.method in (b"GET", b"HEAD"):
            await self._send(204, b"", [])
            return
        key = headers.get("idempotency-key", "")
        # The caller compares it, so that an answer never goes to another call.
        own = [(b"idempotency-key", key.encode("latin-1"))] if key else []
        try:
            call, text = _read(body, headers)
            answer = await self._while_connected(call, text)
            content = msgspec.json.encode(_reply(answer))
            await self._send(200, content, own)
        except CallFailedError as failed:
            error = {"code": failed.code, "message": failed.message}
            if failed.after_s is not None:
                own.append((b"retry-after", b"%d" % math.ceil(failed.after_s)))
            status = 413 if body is None else failed.kind.value[0]
            await self._send(status, msgspec.json.encode({"error": error}), own)

    async def _while_connected(self, call: Call, text: bytes) -> Answer:
        """Run the call, and cancel it when the caller closes the connection."""
        work = asyncio.ensure_future(
            answer_call(self._steps(), call, text, executor=self._executor, on_chunk=_unseen)
        )
        gone = asyncio.ensure_future(self._reader.read(1))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                # The end, or bytes that no caller of this contract sends now.
                raise ConnectionResetError("the caller gave the call up")
            return work.result()
        finally:
            call.cancel()
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _send(self, status: int, content: bytes, own: list[tuple[bytes, bytes]]) -> None:
        headers = list(own)
        if status != 204:
            headers += [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(content)),
            ]
        for event in (
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=content),
            h11.EndOfMessage(),
        ):
            self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()


def _read(body: bytes | None, headers: dict[str, str]) -> tuple[Call, bytes]:
    if body is None:
        said = f"the request has more than {MESSAGE_MAX_BYTES} bytes"
        raise CallFailedError(Kind.INPUT, "REQUEST_TOO_LARGE", said)
    try:
        request = msgspec.json.decode(body, type=_Request)
    except (ValueError, RecursionError):
        raise CallFailedError(Kind.INPUT, "REQUEST_INVALID", "the body is not a request") from None
    call = Call(
        **{name: getattr(request, name) for name in request.__struct_fields__ if name != "input"},
        idempotency_key=headers.get("idempotency-key", ""),
        traceparent=headers.get("traceparent"),
        timeout_s=timeout_of(headers.get("x-timeout-ms")),
    )
    return call, bytes(request.input)


def timeout_of(value: str | None) -> float | None:
    """Read ``x-timeout-ms``: seconds, or None if it is missing or not a decimal number."""
    if value is None or not (value.isascii() and value.isdigit()):
        return None
    return int(value[:_TIMEOUT_DIGITS_MAX]) / 1000


def _reply(answer: Answer) -> Any:
    return _Reply(msgspec.Raw(answer.output), answer.usage, answer.substeps)


def _unseen(chunk: str) -> None:
    """HTTP has no place for chunks."""
