"""``/api/v1/ws``: many streams over one WebSocket.

In: ``{"action": "subscribe", "task_id": ..., "after": 0}``, ``unsubscribe``, ``cancel`` (with an
optional ``reason``). Out: the items of the streams; ``{"type": "ended"}`` after the last one of
a task; ``{"type": "cancelled"}``; ``{"type": "error"}`` with a problem document.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import aclosing
from typing import Literal

import msgspec
import structlog
from msgspec import Struct
from starlette.websockets import WebSocket, WebSocketDisconnect

from orchestrator.api.access.caller import Caller
from orchestrator.api.access.named import named_key, named_tenant
from orchestrator.api.access.rights import READ, WRITE
from orchestrator.api.errors import ApiError, invalid
from orchestrator.api.http.body import decode_json
from orchestrator.api.http.problems import Problem, problem_of, refusal_response
from orchestrator.api.made_once import MadeOnce
from orchestrator.api.settings import ApiSettings
from orchestrator.api.tasks.requests import Cancel, Request
from orchestrator.api.tasks.views.event import StreamItem
from orchestrator.api.use_cases import UseCases

log = structlog.get_logger()

SOCKET_NEED = READ
"""What a socket needs; a cancel needs to write."""
_LAST_WORD_S = 2.0
_STREAMS_MAX = 100
_WAITING_MAX = 64
_MESSAGE_MAX = 16 * 1024
_UNAUTHORIZED = 4401
_TRY_LATER = 1013
"""The tenant has too many streams. Source: IANA registry of WebSocket close codes."""
_UNSUPPORTED = 1003
"""Binary data instead of text. Source: RFC 6455, 7.4.1, as for the next one."""
_INVALID_TEXT = 1007
_NO_HANDSHAKE = "ASGI callable returned without completing handshake."
_PROTOCOL = "orchestrator.v1"
_KEY_PROTOCOL = "bearer."


class Message(Request, frozen=True, kw_only=True):
    """A message of a client."""

    action: Literal["subscribe", "unsubscribe", "cancel"]
    task_id: str
    after: int = 0
    reason: str | None = None


class Ended(Struct, frozen=True, tag="ended"):
    """The stream of a task is over."""

    task_id: str


class Cancelled(Struct, frozen=True, tag="cancelled"):
    """A cancel was carried out."""

    task_id: str


class Failed(Struct, frozen=True, tag="error"):
    """A message, or a stream, was refused."""

    task_id: str | None
    problem: Problem


Out = StreamItem | Ended | Cancelled | Failed
_text_of = MadeOnce[Out, str](lambda item: msgspec.json.encode(item).decode())


class Sockets:
    """The WebSocket endpoint."""

    def __init__(self, use_cases: UseCases, settings: ApiSettings) -> None:
        self._use = use_cases
        self._settings = settings

    async def serve(self, socket: WebSocket) -> None:
        """Serve one connection, from its handshake to its end.

        The key comes in ``Authorization``, or as the subprotocol ``bearer.<key>`` beside
        ``orchestrator.v1``, because browsers cannot set headers.
        """
        offered = socket.scope.get("subprotocols", [])
        try:
            tenant = named_tenant(socket.headers.getlist)
            key, access = _key(socket, offered), self._use.access
            caller = await access.admit(key, SOCKET_NEED, transport="http", tenant=tenant)
        except ApiError as error:
            await _deny(socket, error)
            return
        await socket.accept(subprotocol=_PROTOCOL if _PROTOCOL in offered else None)
        connection = _Connection(socket, caller, self._use, self._settings)
        try:
            with self._use.tenants.stream(caller.tenant_id):
                await connection.run()
        except ApiError as error:
            await connection.close(error, _TRY_LATER)


async def _deny(socket: WebSocket, error: ApiError) -> None:
    """Refuse a handshake, with the reason if the server can answer with a document."""
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(refusal_response(error))
    else:
        await socket.close(_UNAUTHORIZED)


class _Connection:
    def __init__(
        self, socket: WebSocket, caller: Caller, use_cases: UseCases, settings: ApiSettings
    ) -> None:
        self._socket = socket
        self._caller = caller
        self._use = use_cases
        self._settings = settings
        # Bounded: streams wait for a slow reader, and leave out chunks that do not fit.
        self._out: asyncio.Queue[Out] = asyncio.Queue(_WAITING_MAX)
        self._streams: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Run until the client or the server ends the connection."""
        sending = asyncio.create_task(self._send())
        receiving = asyncio.create_task(self._receive())
        try:
            with self._use.access.lifetimes.watch(self._caller) as over:
                await asyncio.wait((sending, receiving, over), return_when=asyncio.FIRST_COMPLETED)
                if over.done():
                    sending.cancel()
                    await self.close(over.result(), _UNAUTHORIZED)
        finally:
            tasks = [sending, receiving, *self._streams.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self, error: ApiError, code: int) -> None:
        """Say why the server ends the connection, and close."""
        last = msgspec.json.encode(Failed(None, problem_of(error))).decode()
        with contextlib.suppress(TimeoutError, WebSocketDisconnect):
            async with asyncio.timeout(_LAST_WORD_S):
                await self._socket.send_text(last)
                await self._socket.close(code)

    async def _send(self) -> None:
        while True:
            item = await self._out.get()
            async with asyncio.timeout(self._settings.send_timeout_s):
                await self._socket.send_text(_text_of(item))

    async def _receive(self) -> None:
        while True:
            received = await self._socket.receive()
            if received["type"] != "websocket.receive":
                return  # the client is gone
            text = received.get("text")
            if text is None:
                log.info("websocket_bytes_received", tenant_id=self._caller.tenant_id)
                await self._socket.close(_UNSUPPORTED)
                return
            await self._handle(text)

    async def _handle(self, text: str) -> None:
        message = _read(text)
        task_id = message.task_id if isinstance(message, Message) else None
        try:
            # What cannot be read is counted, too.
            await self._use.access.admit_message(self._caller, transport="http")
            if isinstance(message, ApiError):
                raise message
            await self._do(message)
        except ApiError as error:
            await self._out.put(Failed(task_id, problem_of(error)))

    async def _do(self, message: Message) -> None:
        task_id = message.task_id
        match message.action:
            case "subscribe":
                if task_id in self._streams:
                    raise invalid("task_id", "subscribed already")
                if len(self._streams) >= _STREAMS_MAX:
                    raise invalid("task_id", f"at most {_STREAMS_MAX} streams on one socket")
                self._streams[task_id] = asyncio.create_task(self._stream(task_id, message.after))
            case "unsubscribe":
                if (stream := self._streams.pop(task_id, None)) is not None:
                    stream.cancel()
            case "cancel":
                self._caller.check(WRITE)
                wanted = Cancel(reason=message.reason)
                await self._use.commands.cancel(self._caller, task_id, wanted)
                await self._out.put(Cancelled(task_id))

    async def _stream(self, task_id: str, after: int) -> None:
        try:
            async with aclosing(self._use.watch.watch(self._caller, task_id, after)) as items:
                async for item in items:
                    await self._out.put(item)
            await self._out.put(Ended(task_id))
        except ApiError as error:
            await self._out.put(Failed(task_id, problem_of(error)))
        finally:
            if self._streams.get(task_id) is asyncio.current_task():
                del self._streams[task_id]


class SocketLogFilter(logging.Filter):
    """Keeps what clients do to sockets from being logged as if it were a bug of ours.

    uvicorn closes a socket for invalid UTF-8 with 1007, and logs a traceback: one line of ours
    takes its place. A handshake that is refused with a document is called one without an answer:
    the refusal has its line already.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass but those two."""
        if record.msg == _NO_HANDSHAKE:
            return False
        kind = record.exc_info[0] if record.exc_info else None
        if kind is None or not issubclass(kind, UnicodeDecodeError):
            return True
        log.info("websocket_text_invalid", close_code=_INVALID_TEXT)
        return False


def _read(text: str) -> Message | ApiError:
    """A message, or why it is refused."""
    if len(text) > _MESSAGE_MAX:
        return invalid("message", f"longer than {_MESSAGE_MAX} characters")
    try:
        return decode_json(text.encode("utf-8", "surrogatepass"), Message)
    except ApiError as error:
        return error


def _key(socket: WebSocket, offered: list[str]) -> str | None:
    for protocol in offered:
        if protocol.startswith(_KEY_PROTOCOL):
            return protocol.removeprefix(_KEY_PROTOCOL)
    return named_key(socket.headers.getlist)
