"""A replica of the service as an instance in Consul and in Nacos."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agents.services.settings import ServicesSettings
from orchestrator.api.registration import registering
from orchestrator.api.registration.registering import Registration, entries_of, registry_of
from orchestrator.api.settings import ApiSettings

LIMIT_S = 10.0


class FakeRegistry:
    """The part of both registries that takes instances: addresses by the name of the service."""

    def __init__(self) -> None:
        self.instances: dict[str, tuple[str, int]] = {}
        self.beats = 0
        self.is_away = False
        self._by_id: dict[str, str] = {}
        self.url = ""

    def forget(self) -> None:
        """As after a restart."""
        self.instances.clear()
        self._by_id.clear()

    async def consul(self, request: web.Request) -> web.Response:
        if self.is_away:
            return web.Response(status=500)
        path = request.path
        if path == "/v1/agent/service/register":
            told = await request.json()
            assert told["Check"]["Status"] == "passing"
            self.instances[told["Name"]] = (told["Address"], told["Port"])
            self._by_id[told["ID"]] = told["Name"]
            return web.Response()
        _, _, instance = path.rpartition("/")
        name = self._by_id.get(instance.removeprefix("service:"))
        if name is None:
            return web.Response(status=404, text="Unknown check ID")
        if path.startswith("/v1/agent/check/pass/"):
            self.beats += 1
        else:
            del self.instances[name]
        return web.Response()

    async def nacos(self, request: web.Request) -> web.Response:
        if self.is_away:
            return web.Response(status=500)
        query = request.query
        name = query["serviceName"]
        if request.method == "DELETE":
            self.instances.pop(name, None)
        elif request.path.endswith("/beat") or "heartBeat" in query:
            if name not in self.instances:
                return web.Response(status=404)
            self.beats += 1
        else:
            self.instances[name] = (query["ip"], int(query["port"]))
        return web.Response(text="ok")


@contextlib.asynccontextmanager
async def a_registry() -> AsyncIterator[FakeRegistry]:
    registry = FakeRegistry()
    app = web.Application()
    app.router.add_route("*", "/v1/agent/{rest:.*}", registry.consul)
    app.router.add_route("*", "/nacos/{rest:.*}", registry.nacos)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    registry.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield registry
    finally:
        await runner.cleanup()


Way = tuple[str, dict[str, Any]]

WAYS: list[Way] = [
    ("consul", {}),
    ("nacos", {}),
    ("nacos", {"nacos_api": 3}),
]
IDS = ["consul", "nacos", "nacos-v3"]
BOTH = {"orchestrator": ("10.0.0.7", 8000), "orchestrator-grpc": ("10.0.0.7", 9000)}


def a_registration(fake: FakeRegistry, way: Way, ready: Callable[[], bool]) -> Registration:
    api = ApiSettings(register_at=way[0], register_host="10.0.0.7")
    services = ServicesSettings(consul_url=fake.url, nacos_url=f"{fake.url}/nacos", **way[1])
    registry = registry_of(api, services)
    assert registry is not None
    return Registration(registry, entries_of(api, "127.0.0.1:8000", "127.0.0.1:9000"), ready)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110  # it happens at the registry
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def beats_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registering, "BEAT_S", 0.02)


@pytest.mark.parametrize("way", WAYS, ids=IDS)
async def test_a_replica_is_in_the_registry_while_it_is_ready(
    way: Way,
) -> None:
    ready = False
    async with a_registry() as fake:
        async with a_registration(fake, way, lambda: ready).running():
            ready = True
            await until(lambda: fake.instances == BOTH and fake.beats > 3)
            ready = False
            await until(lambda: not fake.instances)
            ready = True
            await until(lambda: fake.instances == BOTH)
        assert fake.instances == {}


@pytest.mark.parametrize("way", WAYS, ids=IDS)
async def test_a_registry_that_was_away_or_forgot_is_told_again(
    way: Way,
) -> None:
    async with a_registry() as fake:
        fake.is_away = True
        async with a_registration(fake, way, lambda: True).running():
            fake.is_away = False
            await until(lambda: fake.instances == BOTH)
            fake.forget()
            await until(lambda: fake.instances == BOTH)


@pytest.mark.parametrize("way", WAYS, ids=IDS)
async def test_a_replica_ends_while_its_registry_is_away(way: Way) -> None:
    async with (
        asyncio.timeout(LIMIT_S),
        a_registry() as fake,
        a_registration(fake, way, lambda: True).running(),
    ):
        await until(lambda: fake.instances == BOTH)
        fake.is_away = True


async def test_a_replica_that_drains_does_not_come_back_by_a_sign_of_life() -> None:
    async with a_registry() as fake:
        registration = a_registration(fake, WAYS[0], lambda: True)
        async with registration.running():
            await until(lambda: fake.beats > 1)
            fake.forget()  # the next sign of life fails, and would register anew
            await registration.leave()
            told = fake.beats
            await asyncio.sleep(0)
            assert (fake.instances, fake.beats) == ({}, told)


async def test_a_token_that_cannot_be_sent_does_not_end_the_registration(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t\u00f6ken\n")
    async with a_registry() as fake:
        api = ApiSettings(register_at="consul", register_host="10.0.0.7")
        services = ServicesSettings(consul_url=fake.url, consul_token_file=token)
        registry = registry_of(api, services)
        assert registry is not None
        entries = entries_of(api, "127.0.0.1:8000", "127.0.0.1:9000")
        async with Registration(registry, entries, lambda: True).running():
            token.write_text("token\n")
            await until(lambda: fake.instances == BOTH)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"register_at": "zookeeper"}, "must be consul or nacos"),
        ({"register_at": "consul", "host": "::", "keys": f"t:{'a' * 64}"}, "register_host must"),
        ({"register_at": "consul", "register_host": "a b"}, "register_host must"),
        ({"register_name": "A_b"}, "register_name must match"),
    ],
)
def test_a_registration_that_nobody_could_use_stops_the_start(
    wrong: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ApiSettings(**wrong)  # type: ignore[arg-type]
