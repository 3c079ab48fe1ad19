"""A server that reads a request and lets an attack write the bytes: HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from schemas.gen.services.v1 import step_service_pb2 as pb
from tests.agents.services import hostile

H1_OK = b"HTTP/1.1 200 OK\r\n"
WINDOW_UPDATE = 8
frame = hostile.a_frame
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass
class Content:
    """What the client of a column understands: the name in a request, and the right answer."""

    name_of: Callable[[bytes], str]
    answer: Callable[[str], bytes]
    media_type: str = "application/json"


@dataclass
class Asked:
    """A request that has arrived, and the means to answer it."""

    content: Content
    name: str
    """Of the call; empty if the request was not read to its end."""
    nth: int
    """From 1, of all requests to this server."""
    connection: int
    writer: asyncio.StreamWriter
    gone: asyncio.Event
    """Set when the client has closed the connection."""
    ended: asyncio.Event
    """Set when the call has ended at the client."""
    stream: int = 0
    """Of HTTP/2."""

    async def send(self, *data: bytes) -> None:
        """Write bytes; ConnectionError if the client has gone."""
        self.writer.write(b"".join(data))
        await self.writer.drain()

    async def flood(self, data: bytes) -> None:
        """Write the same bytes until the client has gone or the call has ended."""
        while not (self.gone.is_set() or self.ended.is_set()):
            await self.send(data)
            await asyncio.sleep(0)

    async def silence(self) -> None:
        """Say nothing more, and keep the connection, until the call has ended."""
        await self.ended.wait()

    def vanish(self) -> None:
        """End the connection by a reset."""
        self.writer.transport.abort()

    def cut(self) -> None:
        """End the connection of TCP, without a word of TLS."""
        self.writer.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)

    # --- HTTP/1.1 ---

    @property
    def body(self) -> bytes:
        """The right body."""
        return self.content.answer(self.name)

    @property
    def half(self) -> bytes:
        """The beginning of the right body."""
        return self.body[: len(self.body) // 2]

    @property
    def start(self) -> bytes:
        """The head of an answer, to which fields may be added."""
        return H1_OK + b"content-type: %s\r\n" % self.content.media_type.encode()

    @property
    def right(self) -> bytes:
        """The right answer, whole."""
        return self.named(self.name)

    def named(self, name: str) -> bytes:
        """The right answer to the call of this name, whole."""
        body = self.content.answer(name)
        return self.start + b"content-length: %d\r\n\r\n" % len(body) + body

    def chunked(self, body: bytes | None = None) -> bytes:
        """The answer in one chunk, without the last one, which is empty."""
        body = self.body if body is None else body
        return self.start + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(body), body)

    # --- HTTP/2 ---

    def head(self, *fields: tuple[bytes, bytes], status: bytes = b"200") -> bytes:
        """The frame with the head of an answer."""
        fields = ((b":status", status), (b"content-type", b"application/grpc"), *fields)
        return frame(hostile.HEADERS_FRAME, hostile.END_HEADERS, self.stream, block(*fields))

    def data(self, payload: bytes, flags: int = 0) -> bytes:
        """A frame of data."""
        return frame(hostile.DATA, flags, self.stream, payload)

    def trailers(self, status: bytes = b"0") -> bytes:
        """The frame that ends an answer."""
        flags = hostile.END_HEADERS | hostile.END_STREAM
        return frame(hostile.HEADERS_FRAME, flags, self.stream, block((b"grpc-status", status)))

    def whole(self, name: str | None = None) -> bytes:
        """The right answer in frames."""
        message = self.content.answer(self.name if name is None else name)
        return self.head() + self.data(framed(message)) + self.trailers()

    def reset(self, code: int) -> bytes:
        """RST_STREAM."""
        return frame(hostile.RST_STREAM, 0, self.stream, struct.pack(">I", code))

    def goaway(self, last: int, code: int = 0) -> bytes:
        """GOAWAY."""
        return frame(hostile.GOAWAY, 0, 0, struct.pack(">II", last, code))


def block(*fields: tuple[bytes, bytes]) -> bytes:
    """A block of headers."""
    return hostile.a_header_block([*fields])


def framed(message: bytes, length: int | None = None) -> bytes:
    """A message of gRPC."""
    return struct.pack(">BI", 0, len(message) if length is None else length) + message


Script = Callable[[Asked], Awaitable[None]]


@dataclass
class Attacker:
    """The server. The first request gets the attack, and all others the right answer."""

    content: Content
    attack: Script
    h2: bool
    early: bool = False
    """Whether the first request is attacked before its body has been read."""
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    called: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the attack has written all."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        mine, gone = self.connections, asyncio.Event()
        running: list[asyncio.Task[None]] = []
        read = self._read_h2 if self.h2 else self._read_h1
        try:
            async for name, stream in read(reader, writer):
                asked = Asked(
                    *(self.content, name, len(self.asked) + 1, mine, writer),
                    *(gone, self.ended, stream),
                )
                self.asked.append(asked)
                self.called.set()
                running.append(asyncio.create_task(self._answer(asked)))
        except (
            *(asyncio.IncompleteReadError, asyncio.CancelledError),
            *(ConnectionError, ssl.SSLError),
        ):
            pass
        finally:
            gone.set()
            await asyncio.gather(*running, return_exceptions=True)
            writer.close()

    async def _answer(self, asked: Asked) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            if asked.nth > 1:
                await asked.send(asked.whole() if self.h2 else asked.right)
                return
            try:
                await self.attack(asked)
            finally:
                self.done.set()

    async def _read_h1(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> AsyncIterator[tuple[str, int]]:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            if self.early and not self.asked:
                yield "early", 0
                await reader.readexactly(size)
            else:
                yield self.content.name_of(await reader.readexactly(size)), 0

    async def _read_h2(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> AsyncIterator[tuple[str, int]]:
        writer.write(frame(hostile.SETTINGS, 0, 0, b""))
        await reader.readexactly(len(PREFACE))
        bodies: dict[int, bytes] = {}
        early = 0
        while True:
            head = await reader.readexactly(9)
            size, (kind, flags, stream) = int.from_bytes(head[:3]), struct.unpack(">BBI", head[3:])
            payload = await reader.readexactly(size)
            if kind == hostile.SETTINGS and not flags & 1:
                writer.write(frame(hostile.SETTINGS, 1, 0, b""))
            elif kind == hostile.PING and not flags & 1:
                writer.write(frame(hostile.PING, 1, 0, payload))
            elif kind == hostile.HEADERS_FRAME and self.early and not self.asked:
                early = stream
                yield "early", stream
            elif kind == hostile.DATA:
                bodies[stream] = bodies.get(stream, b"") + payload
                writer.write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", max(1, size))))
                if flags & hostile.END_STREAM and stream != early:
                    yield self.content.name_of(bodies.pop(stream)), stream


def of_step(body: bytes) -> str:
    """The name in a request of the contract as JSON."""
    return str(json.loads(body)["task_id"])


def of_message(body: bytes) -> str:
    """The name in a request of the contract as a message."""
    return pb.RunRequest.FromString(body[5:]).task_id


def document(value: Any) -> bytes:
    """JSON."""
    return json.dumps(value).encode()
