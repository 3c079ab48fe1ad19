"""A service that writes bytes as a test wrote them, and knows on which connection."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from agents.services.http_client import HttpStepClient
from tests.agents.services.test_grpc_client import MAX_BYTES

OK = b"HTTP/1.1 200 OK\r\n"


@dataclass
class Call:
    """A request that has arrived."""

    connection: int
    """From 1, in the order in which connections were made."""
    nth: int
    """From 1, of all requests."""
    body: dict[str, Any]
    writer: asyncio.StreamWriter
    closed: asyncio.Event
    """Set when the client has closed the connection."""

    @property
    def answer(self) -> bytes:
        """The right answer to this call, and to no other."""
        body = json.dumps({"output": {"of": self.body["task_id"]}}).encode()
        return OK + b"content-length: %d\r\n\r\n" % len(body) + body


Answer = Callable[[Call], Awaitable[None]]


@dataclass
class RawService:
    answer: Answer
    calls: list[Call] = field(default_factory=list)
    connections: int = 0
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        mine, closed = self.connections, asyncio.Event()
        with contextlib.suppress(
            asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
        ):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = json.loads(await reader.readexactly(size))
                call = Call(mine, len(self.calls) + 1, body, writer, closed)
                self.calls.append(call)
                self.called.set()
                await self.answer(call)
                await writer.drain()
        closed.set()
        writer.close()


@contextlib.asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[tuple[RawService, HttpStepClient]]:
    service = RawService(answer)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/run"
    client = HttpStepClient(url, service="rag-engine", max_message_bytes=MAX_BYTES)
    try:
        yield service, client
    finally:
        await client.close()
        server.close()
