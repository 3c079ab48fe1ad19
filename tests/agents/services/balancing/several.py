"""Several real servers of one service, and a list of them that a test changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import grpc

from agents.services.balancing.client import BalancedStepClient
from agents.services.client import StepClient
from agents.services.discovery.endpoint import Endpoint, EndpointSource
from agents.services.grpc_client import GrpcStepClient
from agents.services.http_client import HttpStepClient
from schemas.gen.services.v1 import step_service_pb2_grpc as pb_grpc
from tests.agents.services.test_grpc_client import MAX_BYTES, Run, ScriptedService, answers


class ChangingList:
    """A source whose list a test sets."""

    def __init__(self, *endpoints: Endpoint) -> None:
        self._lists: asyncio.Queue[tuple[Endpoint, ...]] = asyncio.Queue()
        if endpoints:
            self.set(endpoints)

    def set(self, endpoints: Sequence[Endpoint]) -> None:
        self._lists.put_nowait(tuple(endpoints))

    async def taken(self) -> None:
        """Wait until the last list was taken."""
        await self._lists.join()

    async def watch(self) -> AsyncIterator[tuple[Endpoint, ...]]:
        while True:
            yield await self._lists.get()
            self._lists.task_done()


class Instance:
    """One server of the service."""

    def __init__(self, run: Run = answers) -> None:
        self.service = ScriptedService(run)
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_StepServiceServicer_to_server(self.service, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.endpoint = Endpoint("127.0.0.1", port)

    @property
    def calls(self) -> int:
        return len(self.service.calls)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace_s: float | None = None) -> None:
        await self._server.stop(grace_s)


@contextlib.asynccontextmanager
async def instances(*runs: Run) -> AsyncIterator[list[Instance]]:
    started = [Instance(run) for run in runs]
    for one in started:
        await one.start()
    try:
        yield started
    finally:
        for one in started:
            await one.stop()


async def until(condition: Callable[[], bool]) -> None:
    never = asyncio.Event()
    while not condition():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.002):
                await never.wait()


async def drained(client: BalancedStepClient) -> None:
    """Wait until no call runs on an endpoint that left.

    A server of grpc.aio that stops cancels calls that reach it at this moment.
    """
    await until(lambda: not client._members._leaving)


def over_grpc(endpoint: Endpoint) -> StepClient:
    return GrpcStepClient(endpoint.authority, service="poet", max_message_bytes=MAX_BYTES)


def over_http(endpoint: Endpoint) -> StepClient:
    url = f"http://{endpoint.authority}/run"
    return HttpStepClient(url, service="poet", max_message_bytes=MAX_BYTES)


@contextlib.asynccontextmanager
async def a_balanced_client(source: EndpointSource) -> AsyncIterator[BalancedStepClient]:
    client = BalancedStepClient(source, over_grpc, service="poet")
    try:
        yield client
    finally:
        await client.close()
