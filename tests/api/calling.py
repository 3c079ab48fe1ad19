"""Calls the service as its users do: gRPC by the generated stub, HTTP by httpx."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from orchestrator.api.access.keys import key_hash
from orchestrator.local.embedded.process import Process
from schemas.gen.orchestrator.v1 import dead_letters_pb2_grpc as letters_grpc
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1 import orchestrator_pb2_grpc as pb_grpc
from tests.e2e.driving import Running

WAIT_S = 60.0
KEYS = {
    name: f"orch_{name}"
    for name in (
        *("acme", "other", "slow", "hanging", "refused", "fuzzed", "crowd", "pending"),
        *("letters", "mended", "paged", "documented", "keeping"),
    )
}
FILE_KEYS: dict[str, dict[str, Any]] = {
    "reader": {"tenant": "acme", "scopes": ["read"]},
    "writer": {"tenant": "acme", "scopes": ["write"]},
    "expired": {
        "tenant": "acme",
        "scopes": ["read", "write"],
        "expires_at": "2020-01-01T00:00:00Z",
    },
    "revoked": {
        "tenant": "acme",
        "scopes": ["read", "write"],
        "revoked_at": "2020-01-01T00:00:00Z",
    },
    "operator": {"tenant": "*", "scopes": ["read", "write", "operate"]},
    "letters-only": {"tenant": "*", "scopes": ["operate"]},
    "gateway": {"tenant": "*", "scopes": ["read", "write"]},
}
"""Keys with a life, in a file: by the name by which tests call with them."""
KEYS |= {name: f"orch_{name}" for name in FILE_KEYS}
QUESTION = json.dumps({"query": "What is a dead letter?"})
_TERMINAL = ("completed", "failed", "cancelled")


class Replica:
    """One process of the service."""

    def __init__(self, grpc_port: int, http_port: int) -> None:
        self.grpc_address = f"127.0.0.1:{grpc_port}"
        self.url = f"http://127.0.0.1:{http_port}"
        self._clients: list[httpx.AsyncClient] = []
        self._shared: dict[str, httpx.AsyncClient] = {}
        self._channel: grpc.aio.Channel | None = None

    @property
    def channel(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.grpc_address)
        return self._channel

    @property
    def stub(self) -> Any:
        return pb_grpc.OrchestratorStub(self.channel)

    @property
    def letters(self) -> Any:
        return letters_grpc.DeadLettersStub(self.channel)

    def http(self, tenant: str | None = "acme") -> httpx.AsyncClient:
        """A client with the key of a tenant; None: without a key."""
        headers = {} if tenant is None else {"Authorization": f"Bearer {KEYS[tenant]}"}
        client = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=WAIT_S)
        self._clients.append(client)
        return client

    def shared(self, tenant: str) -> httpx.AsyncClient:
        """One client for many calls of a tenant."""
        if tenant not in self._shared:
            self._shared[tenant] = self.http(tenant)
        return self._shared[tenant]

    async def wait_ready(self) -> None:
        """Until it has read all that was there."""
        async with httpx.AsyncClient(base_url=self.url) as client, asyncio.timeout(WAIT_S):
            while True:
                try:
                    if (await client.get("/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()
        if self._channel is not None:
            await self._channel.close()


@dataclass(frozen=True, slots=True)
class Served:
    """A running system, and what can be called."""

    running: Running
    replicas: tuple[Replica, Replica]
    second: Process

    @property
    def one(self) -> Replica:
        return self.replicas[0]

    @property
    def two(self) -> Replica:
        return self.replicas[1]


def key_lines() -> str:
    """The file of :data:`FILE_KEYS`."""
    return "".join(
        json.dumps({"id": f"key-{name}", "hash": key_hash(KEYS[name]), **rest}) + "\n"
        for name, rest in FILE_KEYS.items()
    )


def as_tenant(tenant: str | None) -> tuple[tuple[str, str], ...]:
    """The metadata of a tenant's calls."""
    return () if tenant is None else (("authorization", f"Bearer {KEYS[tenant]}"),)


ACME = as_tenant("acme")


def a_create(**changes: Any) -> pb.CreateTaskRequest:
    return pb.CreateTaskRequest(**({"type": "rag", "input": QUESTION} | changes))


def a_body(**changes: Any) -> dict[str, Any]:
    return {"type": "rag", "input": json.loads(QUESTION)} | changes


@dataclass(frozen=True, slots=True)
class Refusal:
    """A gRPC status with its details."""

    status: grpc.StatusCode
    reason: str
    field: str | None
    retry_after_s: float | None


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error!r}"
    info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
    found = dict.fromkeys(("info", "bad", "retry"), False)
    for detail in status.details:
        found["info"] |= detail.Unpack(info)
        found["bad"] |= detail.Unpack(bad)
        found["retry"] |= detail.Unpack(retry)
    assert found["info"]
    return Refusal(
        error.code(),
        info.reason,
        bad.field_violations[0].field if found["bad"] else None,
        retry.retry_delay.ToMilliseconds() / 1000 if found["retry"] else None,
    )


async def sse(response: httpx.Response) -> AsyncIterator[tuple[int | None, str, dict[str, Any]]]:
    """The events of a stream: id, name and data."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            number = int(fields["id"]) if "id" in fields else None
            yield number, fields["event"], json.loads(fields["data"])
            fields = {}


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [int(opened.getsockname()[1]) for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()
