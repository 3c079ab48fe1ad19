"""The clients that are attacked: each asks a question with a name, and says whose answer it got."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from agents.services.client import StepClient, StepRequest, StepResponse
from agents.services.failure import ServiceError
from agents.services.grpc_client import GrpcStepClient
from agents.services.http_client import HttpStepClient
from agents.services.models.address import ModelAddress
from agents.services.models.api import ModelTimes
from agents.services.models.client import ModelClient
from agents.services.models.prices import ModelPrices
from agents.services.service_tls import ServiceTls
from ai_orchestrator import AsyncClient, Client, OrchestratorError, UnavailableError
from schemas.gen.services.v1 import step_service_pb2 as pb
from schemas.records import CommandId, Json, StepName, TaskId
from streams.tls import ClientTls
from tests.agents.services.attacks.wire import Content, document, of_message, of_step

MAX_BYTES = 8 * 1024 * 1024
LARGE = "x" * (MAX_BYTES - 1024)
"""A request that does not fit into the buffers of two sockets."""


@dataclass(frozen=True)
class Outcome:
    """How a call ended."""

    answer: str = ""
    """The name in the answer; empty for a failure."""
    code: str = ""
    again: bool = False
    """Whether another attempt may succeed."""


class AttackedClient(Protocol):
    """One client in one way of using it."""

    async def ask(self, name: str, timeout_s: float, *, large: bool = False) -> Outcome:
        """Make a call."""
        ...

    async def close(self) -> None:
        """Close it."""
        ...


@dataclass(frozen=True)
class Column:
    """A client under attack."""

    name: str
    content: Content
    open: Callable[[int, Path | None], AttackedClient]
    """Takes the port, and for TLS the file of the authority."""
    h2: bool = False


class StepCaller:
    """A client of step services."""

    def __init__(
        self,
        client: StepClient,
        request: Callable[[str, bool], tuple[str, Any]],
        name_in: Callable[[Any], str],
        *,
        streams: bool = False,
    ) -> None:
        self._client = client
        self._request = request
        self._name_in = name_in
        self._streams = streams

    async def ask(self, name: str, timeout_s: float, *, large: bool = False) -> Outcome:
        """Make a call."""
        method, given = self._request(name, large)
        request = StepRequest(
            method=method,
            input=Json(json.dumps(given)),
            task_id=TaskId(name),
            run=1,
            step=StepName("generate"),
            attempt=1,
            tenant_id="acme",
            idempotency_key=CommandId(f"{name}/1/generate/1"),
            timeout_s=timeout_s,
        )
        try:
            found = await self._client.call(request, on_chunk=_ignored if self._streams else None)
        except ServiceError as error:
            return Outcome(code=error.code, again=error.retriable)
        return Outcome(answer=self._name_in(_output(found)))

    async def close(self) -> None:
        """Close it."""
        await self._client.close()


class PythonCaller:
    """A client of ``clients/python``, which creates a task."""

    def __init__(self, kind: type[Client] | type[AsyncClient], url: str, verify: Any) -> None:
        self._kind = kind
        self._url = url
        self._verify = verify
        self._opened: Client | AsyncClient | None = None

    async def ask(self, name: str, timeout_s: float, *, large: bool = False) -> Outcome:
        """Make a call."""
        if self._opened is None:
            self._opened = self._kind(
                self._url, timeout_s=timeout_s, retry_s=0.0, **self._verified()
            )
        self._opened._timeout_s = timeout_s
        given = {"query": LARGE if large else ""}
        try:
            if isinstance(self._opened, Client):
                task = await asyncio.to_thread(self._opened.create, name, given, key=name)
            else:
                task = await self._opened.create(name, given, key=name)
        except OrchestratorError as error:
            return Outcome(code=error.code, again=isinstance(error, UnavailableError))
        return Outcome(answer=task.type)

    async def close(self) -> None:
        """Close it."""
        if isinstance(self._opened, Client):
            self._opened.close()
        elif self._opened is not None:
            await self._opened.close()

    def _verified(self) -> dict[str, Any]:
        if self._verify is None:
            return {}
        kind = httpx.Client if self._kind is Client else httpx.AsyncClient
        return {"http": kind(verify=self._verify)}


def _ignored(_: str) -> None: ...


def _output(found: StepResponse) -> Any:
    return json.loads(found.output)


def _tls(ca: Path | None) -> ServiceTls | None:
    return None if ca is None else ServiceTls(ClientTls(ca_file=ca))


def _step(name: str, large: bool) -> tuple[str, Any]:
    return "Generate", {"text": LARGE if large else name}


def _grpc(port: int, ca: Path | None, *, streams: bool) -> StepCaller:
    client = GrpcStepClient(
        f"127.0.0.1:{port}", service="s", max_message_bytes=MAX_BYTES, tls=_tls(ca)
    )
    return StepCaller(client, _step, lambda output: str(output["of"]), streams=streams)


def _http(port: int, ca: Path | None) -> StepCaller:
    url = f"http{'s' if ca else ''}://127.0.0.1:{port}/run"
    client = HttpStepClient(url, service="s", max_message_bytes=MAX_BYTES, tls=_tls(ca))
    return StepCaller(client, _step, lambda output: str(output["of"]))


def _model(port: int, ca: Path | None, method: str) -> StepCaller:
    def request(name: str, large: bool) -> tuple[str, Any]:
        text = name + (LARGE if large else "")
        if method == "Embed":
            return method, {"texts": [text]}
        return method, {"messages": [{"role": "user", "content": text}]}

    def name_in(output: Any) -> str:
        return f"t{output['vectors'][0][0]:g}" if method == "Embed" else str(output["text"])

    client = ModelClient(
        ModelAddress(f"http{'s' if ca else ''}://127.0.0.1:{port}/v1", ("m",)),
        service="s",
        max_message_bytes=MAX_BYTES,
        prices=ModelPrices(version=1, models={}),
        times=ModelTimes(first_token_s=30.0, between_tokens_s=30.0),
        tls=_tls(ca),
    )
    return StepCaller(client, request, name_in, streams=method == "Chat")


def _python(kind: type[Client] | type[AsyncClient], port: int, ca: Path | None) -> PythonCaller:
    tls = _tls(ca)
    url = f"http{'s' if ca else ''}://127.0.0.1:{port}"
    return PythonCaller(kind, url, tls.context if tls else None)


def _events(name: str) -> bytes:
    choice = {"index": 0, "delta": {"content": name}, "finish_reason": "stop"}
    return b"data: %s\n\ndata: [DONE]\n\n" % document({"choices": [choice]})


def _event(name: str) -> bytes:
    response = pb.RunResponse(output=json.dumps({"of": name}))
    return pb.RunEvent(response=response).SerializeToString()


_MESSAGES = Content(
    of_message, lambda name: pb.RunResponse(output=json.dumps({"of": name})).SerializeToString()
)
_TASKS = Content(
    lambda body: str(json.loads(body)["type"]),
    lambda name: document({"task": {"id": name, "type": name, "status": "pending"}}),
)

COLUMNS = (
    Column("grpc", _MESSAGES, lambda port, ca: _grpc(port, ca, streams=False), h2=True),
    Column(
        "grpc-stream",
        Content(of_message, _event),
        lambda port, ca: _grpc(port, ca, streams=True),
        h2=True,
    ),
    Column("http", Content(of_step, lambda name: document({"output": {"of": name}})), _http),
    Column(
        "model-chat",
        Content(
            lambda body: str(json.loads(body)["messages"][0]["content"]),
            _events,
            "text/event-stream",
        ),
        lambda port, ca: _model(port, ca, "Chat"),
    ),
    Column(
        "model-embed",
        Content(
            lambda body: str(json.loads(body)["input"][0]),
            lambda name: document({"data": [{"index": 0, "embedding": [_number(name)]}]}),
        ),
        lambda port, ca: _model(port, ca, "Embed"),
    ),
    Column("python", _TASKS, lambda port, ca: _python(Client, port, ca)),
    Column("python-async", _TASKS, lambda port, ca: _python(AsyncClient, port, ca)),
)


def _number(name: str) -> float:
    return float(name.removeprefix("t")) if name.removeprefix("t").isdigit() else 99.0


@contextlib.asynccontextmanager
async def opened(column: Column, port: int, ca: Path | None) -> AsyncIterator[AttackedClient]:
    """A client that is closed at the end."""
    client = column.open(port, ca)
    try:
        yield client
    finally:
        await client.close()
