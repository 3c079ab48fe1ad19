"""Instances are asked whether they are well: by the standard gRPC service, and by a GET."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

import grpc
import pytest
import uvicorn
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agents.services.balancing.client import BalancedStepClient
from agents.services.directory import Directory
from agents.services.discovery.endpoint import Endpoint
from agents.services.settings import ServicesSettings
from schemas.gen.services.v1 import step_service_pb2_grpc as pb_grpc
from streams import metrics
from tests.agents.services.balancing.several import until
from tests.agents.services.test_grpc_client import ScriptedService, a_request, answers

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LIMIT_S = 10.0


class GrpcInstance:
    """A server of the service that says how it is, over gRPC."""

    way = "grpc"

    def __init__(self, *, tells: bool = True) -> None:
        self.service = ScriptedService(answers)
        self._health = health.HealthServicer()
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_StepServiceServicer_to_server(self.service, self._server)
        if tells:
            add_HealthServicer_to_server(self._health, self._server)
        self.endpoint = Endpoint("127.0.0.1", self._server.add_insecure_port("127.0.0.1:0"))

    @property
    def calls(self) -> int:
        return len(self.service.calls)

    async def start(self) -> None:
        await self._server.start()

    async def say(self, *, well: bool) -> None:
        await self._health.set("", SERVING if well else NOT_SERVING)

    async def stop(self) -> None:
        await self._server.stop(None)


class HttpInstance:
    """A server of the service that answers a GET with its health."""

    way = "/health"

    def __init__(self) -> None:
        self.calls = 0
        self._well = True
        app = Starlette(
            routes=[
                Route("/health", self._say_how_it_is),
                Route("/run", self._run, methods=["POST"]),
            ]
        )
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = Endpoint("127.0.0.1", self._listening.getsockname()[1])
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))

    async def start(self) -> None:
        self._serving = asyncio.create_task(self._server.serve([self._listening]))
        await until(lambda: self._server.started)

    async def say(self, *, well: bool) -> None:
        self._well = well

    async def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        await self._serving

    async def _say_how_it_is(self, _: Request) -> Response:
        return Response(status_code=200 if self._well else 503)

    async def _run(self, _: Request) -> Response:
        self.calls += 1
        return JSONResponse({"output": {}})


AnInstance = GrpcInstance | HttpInstance


@contextlib.asynccontextmanager
async def a_client(*servers: AnInstance) -> AsyncIterator[BalancedStepClient]:
    for one in servers:
        await one.start()
    hosts = "|".join(one.endpoint.authority for one in servers)
    scheme, path = ("grpc", "") if servers[0].way == "grpc" else ("http", "/run")
    directory = Directory(
        ServicesSettings(
            extra=f"poet={scheme}://{hosts}{path}",
            health=f"poet={servers[0].way}",
            health_every_s=0.1,
        )
    )
    client = directory.client("poet")
    assert isinstance(client, BalancedStepClient)
    try:
        async with asyncio.timeout(LIMIT_S):
            yield client
    finally:
        await directory.close()
        for one in servers:
            await one.stop()


async def called(client: BalancedStepClient, servers: Sequence[AnInstance]) -> list[bool]:
    """Which instances get calls now."""
    before = [one.calls for one in servers]
    for _ in range(30):
        await client.call(a_request())
    return [one.calls > calls for one, calls in zip(servers, before, strict=True)]


@pytest.mark.parametrize("kind", [GrpcInstance, HttpInstance])
async def test_an_instance_that_is_not_well_gets_no_call_until_it_is(
    kind: type[GrpcInstance] | type[HttpInstance],
) -> None:
    sick, other = kind(), kind()
    counted = metrics.ENDPOINTS_LEFT_OUT.labels("poet")._value.get()
    async with a_client(sick, other) as client:
        await other.say(well=True)
        await sick.say(well=False)
        await client.call(a_request())
        await until(lambda: client._members.left_out() == 1)
        assert await called(client, [sick, other]) == [False, True]

        await sick.say(well=True)
        await until(lambda: client._members.left_out() == 0)
        assert await called(client, [sick, other]) == [True, True]
    assert metrics.ENDPOINTS_LEFT_OUT.labels("poet")._value.get() == counted + 1


async def test_while_no_instance_is_well_all_of_them_are_called() -> None:
    servers = HttpInstance(), HttpInstance()
    async with a_client(*servers) as client:
        for one in servers:
            await one.say(well=False)
        await client.call(a_request())
        await until(lambda: client._members.left_out() == 2)

        assert await called(client, servers) == [True, True]


async def test_an_instance_that_does_not_answer_the_question_is_left_out() -> None:
    gone, other = HttpInstance(), HttpInstance()
    async with a_client(gone, other) as client:
        await client.call(a_request())
        await gone.stop()
        await until(lambda: client._members.left_out() == 1)


async def test_a_server_without_the_health_service_counts_as_well() -> None:
    silent, sick = GrpcInstance(tells=False), GrpcInstance()
    async with a_client(silent, sick) as client:
        await sick.say(well=False)
        await client.call(a_request())
        await until(lambda: client._members.left_out() == 1)

        assert await called(client, [silent, sick]) == [True, False]


@pytest.mark.parametrize(
    ("health_setting", "extra", "message"),
    [
        ("poet=/health", "poet=grpc://a:1|b:1", "in another way than its address is called"),
        ("poet=grpc", "poet=http://a:1|b:1", "in another way than its address is called"),
        ("poet=grpc", "poet=grpc://a:1", "whose address is that of one instance"),
        ("poet=health", "poet=http://a:1|b:1", "not service=grpc or service=/path"),
        ("poet", "poet=grpc://a:1|b:1", "not service=grpc or service=/path"),
        ("critic=grpc", "poet=grpc://a:1|b:1", "names critic, which has no address"),
    ],
)
def test_a_question_that_cannot_be_asked_stops_the_start(
    health_setting: str, extra: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ServicesSettings(extra=extra, health=health_setting)
