"""A server that speaks OpenAI's wire and answers as a test tells it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from agents.services.client import StepRequest
from agents.services.headers import ServiceHeaders
from agents.services.models.address import parse_address
from agents.services.models.api import ModelTimes
from agents.services.models.client import ModelClient
from agents.services.models.prices import ModelPrice, ModelPrices
from schemas.records import CommandId, Json, StepName, TaskId

PRICES = ModelPrices(version=1, models={"first": ModelPrice(input=1_000_000, output=2_000_000)})
MAX_BYTES = 100_000


@dataclass
class Exchange:
    """One request as the server got it, and the connection on which it answers."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    writer: asyncio.StreamWriter
    gone: asyncio.Event
    """Set when the client has closed the connection."""

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, **headers: str) -> None:
        """Send the head of an answer whose end is that of the connection."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"content-type": "text/event-stream", "connection": "close"} | named
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in given.items())]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def event(self, document: object) -> None:
        """Send one event."""
        await self.send(b"data: " + json.dumps(document).encode() + b"\n\n")

    async def piece(self, text: str, finish: str | None = None) -> None:
        """Send a piece of the answer."""
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
        await self.event({"model": self.body["model"], "choices": [choice]})

    async def whole(self, *texts: str, finish: str = "stop", usage: bool = True) -> None:
        """Send a complete stream."""
        await self.head()
        for text in texts:
            await self.piece(text)
        await self.piece("", finish)
        if usage:
            counted = {"prompt_tokens": 10, "completion_tokens": 3}
            await self.event({"choices": [], "usage": counted})
        await self.send(b"data: [DONE]\n\n")

    async def refuse(self, status: int, error: object, **headers: str) -> None:
        """Send a failure."""
        await self.head(status, content_type="application/json", **headers)
        await self.send(json.dumps({"error": error}).encode())


Script = Callable[[Exchange], Awaitable[None]]


@dataclass
class FakeModel:
    """The server: runs ``script`` for each request."""

    script: Script
    url: str = ""
    asked: list[Exchange] = field(default_factory=list)

    def client(self, models: str = "first", **times: float) -> ModelClient:
        """A client of this server."""
        return ModelClient(
            parse_address(f"{self.url}?model={models}"),
            service="writer",
            max_message_bytes=MAX_BYTES,
            prices=PRICES,
            times=ModelTimes(**times),
            headers=ServiceHeaders(),
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            exchange = Exchange(head[0].split()[1], headers, body, writer, asyncio.Event())
            self.asked.append(exchange)
            watching = asyncio.create_task(_until_gone(reader, exchange.gone))
            try:
                await self.script(exchange)
            finally:
                watching.cancel()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _until_gone(reader: asyncio.StreamReader, gone: asyncio.Event) -> None:
    with suppress(ConnectionError):
        await reader.read(1)
    gone.set()


@asynccontextmanager
async def a_model(script: Script) -> AsyncIterator[FakeModel]:
    """A running server."""
    model = FakeModel(script)
    server = await asyncio.start_server(model._serve, "127.0.0.1", 0)
    model.url = f"openai+http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield model


def a_request(document: object, method: str = "Chat", timeout_s: float = 20.0) -> StepRequest:
    """An attempt."""
    return StepRequest(
        method=method,
        input=Json(json.dumps(document)),
        task_id=TaskId("task_1"),
        run=1,
        step=StepName("generate"),
        attempt=1,
        tenant_id="acme",
        idempotency_key=CommandId("task_1/1/generate/1"),
        timeout_s=timeout_s,
    )


def a_prompt(text: str = "Hello {{name}}", **fields: object) -> dict[str, object]:
    """The input of ``Chat``."""
    messages: Sequence[dict[str, str]] = [{"role": "user", "content": text}]
    return {"messages": messages, "values": {"name": "Ada"}, **fields}
