"""A Consul agent with the part of its API that finds services, and its blocking contract.

A query with the index that Consul is at waits until something changes or its time is over. A query
with an older index, or with one that Consul never had, is answered at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiohttp import web

from agents.services.discovery.endpoint import Endpoint


def an_entry(endpoint: Endpoint, *, at_node: bool = False) -> dict[str, Any]:
    return {
        "Node": {"Node": "n1", "Address": endpoint.host, "Meta": None},
        "Service": {
            "ID": f"poet-{endpoint.port}",
            "Address": "" if at_node else endpoint.host,
            "Port": endpoint.port,
            "Weights": {"Passing": 1, "Warning": 1},
        },
        "Checks": [{"Status": "passing"}],
    }


class FakeConsul:
    """Knows one service."""

    def __init__(self) -> None:
        self.index = 10
        self.entries: list[Any] = []
        self.queries: list[dict[str, str]] = []
        self.tokens: list[str | None] = []
        self.raw: web.Response | None = None
        """Sent instead of an answer."""
        self.wait_max_s = 600.0
        self._changed = asyncio.Event()
        self._asked = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def set(self, endpoints: Sequence[Endpoint], *, index: int | None = None) -> None:
        self.entries = [an_entry(one) for one in endpoints]
        self.change(index=index)

    def change(self, *, index: int | None = None, raw: web.Response | None = None) -> None:
        """Answer all who wait."""
        self.raw = raw
        self.index = self.index + 1 if index is None else index
        self._changed.set()
        self._changed = asyncio.Event()

    async def asked(self, times: int = 1) -> None:
        """Wait for further queries."""
        for _ in range(times):
            await self._asked.wait()
            self._asked.clear()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/v1/health/service/poet", self._health)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _health(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        self.queries.append(query)
        self.tokens.append(request.headers.get("x-consul-token"))
        self._asked.set()
        assert query["passing"] == "1"
        if query.get("index") == str(self.index):
            wait_s = int(query["wait"].removesuffix("ms")) / 1000
            changed = self._changed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, self.wait_max_s)):
                    await changed.wait()
        if self.raw is not None:
            return web.Response(
                status=self.raw.status, body=self.raw.body, headers=dict(self.raw.headers)
            )
        return web.json_response(self.entries, headers={"X-Consul-Index": str(self.index)})


@contextlib.asynccontextmanager
async def a_consul(*endpoints: Endpoint) -> AsyncIterator[FakeConsul]:
    consul = FakeConsul()
    consul.set(endpoints)
    await consul.start()
    try:
        yield consul
    finally:
        await consul.stop()
