"""Nacos' HTTP API as rnacos and its versions 1 to 3 answer it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from agents.services.discovery.endpoint import Endpoint
from agents.services.discovery.following import DiscoveryError
from agents.services.discovery.nacos import NacosLookup
from agents.services.discovery.registry_http import RegistryHttp


class FakeNacos:
    """Answers every path with one document."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.authorized: list[str | None] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, dict(request.query)))
        self.authorized.append(request.headers.get("authorization"))
        return web.json_response(self._answer)


@contextlib.asynccontextmanager
async def a_nacos(answer: Any) -> AsyncIterator[FakeNacos]:
    nacos = FakeNacos(answer)
    app = web.Application()
    app.router.add_get("/nacos/{rest:.*}", nacos.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    nacos.url = f"http://127.0.0.1:{runner.addresses[0][1]}/nacos"
    try:
        yield nacos
    finally:
        await runner.cleanup()


def an_instance(host: str, **fields: object) -> dict[str, object]:
    usual = {"ip": host, "port": 9001, "weight": 1.0, "healthy": True, "enabled": True}
    return {**usual, "metadata": {}, **fields}


GOOD = [an_instance("10.0.0.1"), an_instance("10.0.0.2")]
FOUND = [Endpoint("10.0.0.1", 9001), Endpoint("10.0.0.2", 9001)]


@pytest.mark.parametrize(
    ("api", "answer", "path"),
    [
        (1, {"name": "G@@poet", "hosts": GOOD, "cacheMillis": 3000}, "/nacos/v1/ns/instance/list"),
        (1, {"code": 0, "data": {"hosts": GOOD}}, "/nacos/v1/ns/instance/list"),
        (3, {"code": 0, "message": "ok", "data": GOOD}, "/nacos/v3/client/ns/instance/list"),
    ],
    ids=["v1", "v2", "v3"],
)
async def test_the_instances_are_found_in_each_version(api: int, answer: Any, path: str) -> None:
    async with a_nacos(answer) as nacos:
        http = RegistryHttp(nacos.url)
        lookup = NacosLookup(http, "poet", group="G", namespace="dev", api=api, every_s=5.0)
        found = await lookup.look()

    assert found == FOUND
    query = {"serviceName": "poet", "groupName": "G", "namespaceId": "dev", "healthyOnly": "true"}
    assert nacos.asked == [(path, query)]


async def test_instances_that_are_ill_disabled_or_without_weight_get_no_call() -> None:
    wrong: list[dict[str, object]] = [
        {"healthy": False},
        {"enabled": False},
        {"weight": 0.0},
        {"port": 0},
        {"ip": "a b"},
    ]
    hosts = [an_instance("10.0.0.9", **fields) for fields in wrong]
    async with a_nacos({"hosts": [*hosts, *GOOD]}) as nacos:
        assert await NacosLookup(RegistryHttp(nacos.url), "poet", every_s=5.0).look() == FOUND


@pytest.mark.parametrize(
    "answer",
    ["caused: service not found", [], {"code": 500}, {"data": 3}, {"hosts": [{"ip": 3}]}],
    ids=["text", "list", "code", "number", "entry"],
)
async def test_what_is_no_list_is_refused(answer: Any) -> None:
    async with a_nacos(answer) as nacos:
        with pytest.raises(DiscoveryError, match="registry"):
            await NacosLookup(RegistryHttp(nacos.url), "poet", every_s=5.0).look()
