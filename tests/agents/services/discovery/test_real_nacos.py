"""A real server with Nacos' API: instances register, are found, and are called under load.

rnacos, which speaks the API of Nacos 1 and 2, is built by ``make test-nacos``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from agents.services.directory import Directory
from agents.services.discovery.endpoint import Endpoint
from agents.services.settings import ServicesSettings
from orchestrator.api.registration import registering
from orchestrator.api.registration.entry import Entry
from orchestrator.api.registration.registering import Registration, registry_of
from orchestrator.api.settings import ApiSettings
from orchestrator.local.embedded.ports import free_ports
from orchestrator.local.embedded.process import Child
from streams import metrics
from tests.agents.services.balancing.several import Instance, until
from tests.agents.services.test_grpc_client import a_request, answers

pytestmark = pytest.mark.nacos

LIMIT_S = 120.0


class RealNacos:
    """One process of rnacos, which may be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        program = os.environ.get("RNACOS") or shutil.which("rnacos")
        if program is None:
            raise FileNotFoundError("rnacos is not there: run `make test-nacos`")
        http, grpc, console = free_ports(3)
        self.url = f"http://127.0.0.1:{http}/nacos"
        self._child = Child(
            "rnacos",
            [program],
            env={
                **os.environ,
                "RNACOS_HTTP_PORT": str(http),
                "RNACOS_GRPC_PORT": str(grpc),
                "RNACOS_HTTP_CONSOLE_PORT": str(console),
                "RNACOS_SDK_HOST": "127.0.0.1",
                "RNACOS_CONSOLE_HOST": "127.0.0.1",
                "RNACOS_DATA_DIR": str(folder / "rnacos"),
            },
            log_path=folder / "rnacos.log",
        )

    async def start(self) -> None:
        self._child.start()
        async with asyncio.timeout(30), httpx.AsyncClient() as http:
            while True:
                try:
                    query = {"serviceName": "none"}
                    answer = await http.get(f"{self.url}/v1/ns/instance/list", params=query)
                except httpx.HTTPError:
                    answer = None
                if answer is not None and answer.status_code == 200:
                    return
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        await self._child.stop(5.0)


@asynccontextmanager
async def a_nacos(folder: Path) -> AsyncIterator[RealNacos]:
    nacos = RealNacos(folder)
    await nacos.start()
    try:
        yield nacos
    finally:
        await nacos.stop()


class Announced:
    """A real instance of the service that registers itself at Nacos."""

    def __init__(self, nacos: RealNacos) -> None:
        self.instance = Instance(answers)
        services = ServicesSettings(nacos_url=nacos.url)
        registry = registry_of(ApiSettings(register_at="nacos"), services)
        assert registry is not None
        at: Endpoint = self.instance.endpoint
        entries = [Entry("poet", at.host, at.port)]
        self._registration = Registration(registry, entries, lambda: True)
        self._stack = AsyncExitStack()

    async def come(self) -> None:
        await self.instance.start()
        await self._stack.enter_async_context(self._registration.running())

    async def go(self) -> None:
        """Leave the registry, let the calls end, and stop."""
        await self._stack.aclose()
        calls = self.instance.calls
        never = asyncio.Event()
        while True:
            try:
                async with asyncio.timeout(1.0):
                    await never.wait()
            except TimeoutError:
                if calls == self.instance.calls:
                    break
                calls = self.instance.calls
        await self.instance.stop(5.0)


def known() -> float:
    return float(metrics.SERVICE_ENDPOINTS.labels("poet")._value.get())


async def test_no_call_fails_while_instances_register_and_leave_and_nacos_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registering, "BEAT_S", 0.5)
    async with asyncio.timeout(LIMIT_S), a_nacos(tmp_path) as nacos:
        one, two, three = (Announced(nacos) for _ in range(3))
        await one.come()
        directory = Directory(
            ServicesSettings(
                extra="poet=nacos+grpc://poet", nacos_url=nacos.url, discovery_every_s=0.2
            )
        )
        client = directory.client("poet")
        over, done = asyncio.Event(), 0

        async def load() -> None:
            nonlocal done
            while not over.is_set():
                await client.call(a_request())
                done += 1

        loads = [asyncio.create_task(load()) for _ in range(4)]

        async def more() -> None:
            """Wait for further calls; each load that ended has failed."""
            wanted = done + 100
            await until(lambda: done >= wanted or any(one.done() for one in loads))
            for ended in [one for one in loads if one.done()]:
                ended.result()

        await more()
        await two.come()  # one appears
        await until(lambda: known() == 2)
        await more()
        await three.come()  # one moves
        await one.go()
        await until(lambda: known() == 2)
        await more()
        await two.go()  # one vanishes
        await until(lambda: known() == 1)
        await more()
        await nacos.stop()  # the registry stops: the last list stays
        await more()
        await nacos.start()  # and comes back without its instances, which register again
        four = Announced(nacos)
        await four.come()
        await until(lambda: known() == 2)
        await more()
        over.set()
        await asyncio.gather(*loads)
        await directory.close()
        await three.go()
        await four.go()
