"""Keeps a replica in a registry while it is ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager

import structlog

from agents.services.discovery.following import DiscoveryError
from agents.services.discovery.sources import consul_of, nacos_of
from agents.services.settings import ServicesSettings
from orchestrator.api.registration.consul import ConsulRegistry
from orchestrator.api.registration.entry import BEAT_S, Entry, Registry
from orchestrator.api.registration.nacos import NacosRegistry
from orchestrator.api.settings import ApiSettings

log = structlog.get_logger()

_TOLD_WITHIN_S = 3.0
"""A registry that does not answer must not hold up the end of a replica."""


def registry_of(api: ApiSettings, services: ServicesSettings) -> Registry | None:
    """The registry of the settings; None: none.

    Raises:
        SettingsError: a file that it needs cannot be used.
    """
    match api.register_at:
        case "consul":
            return ConsulRegistry(consul_of(services))
        case "nacos":
            return NacosRegistry(
                nacos_of(services), namespace=services.nacos_namespace, api=services.nacos_api
            )
    return None


def entries_of(api: ApiSettings, http_address: str, grpc_address: str) -> list[Entry]:
    """What a replica registers: one entry for each of its servers."""
    host = api.register_host or api.host
    return [
        Entry(name, host, int(address.rpartition(":")[2]))
        for name, address in (
            (api.register_name, http_address),
            (f"{api.register_name}-grpc", grpc_address),
        )
    ]


class Registration:
    """The entries of one replica. While the registry is away, it is tried again.

    Args:
        registry: where.
        entries: what.
        ready: whether callers may come now.
    """

    def __init__(
        self, registry: Registry, entries: Sequence[Entry], ready: Callable[[], bool]
    ) -> None:
        self._registry = registry
        self._entries = entries
        self._ready = ready
        self._known: set[str] = set()
        """Ids that the registry has, as far as we know."""
        self._told_of: set[str] = set()
        """Ids that it may have: an answer may have been lost."""
        self._failing = False
        self._keeping: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the entries inside the block, and take them out at its end."""
        self._keeping = asyncio.create_task(self._keep(), name="registration")
        try:
            yield
        finally:
            await self.leave()

    async def leave(self) -> None:
        """Take the entries out, and register them no more; bounded, never raises. Idempotent."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        await self._take_out()

    async def _keep(self) -> None:
        while True:
            if self._ready():
                await asyncio.gather(*map(self._tell, self._entries))
            else:
                await self._take_out()
            await asyncio.sleep(BEAT_S)

    async def _take_out(self) -> None:
        await asyncio.gather(*map(self._forget, self._entries))

    async def _forget(self, entry: Entry) -> None:
        if entry.id in self._told_of:
            await self._told(self._registry.leave(entry))
            self._known.discard(entry.id)
            self._told_of.discard(entry.id)

    async def _tell(self, entry: Entry) -> None:
        if entry.id in self._known:
            if await self._told(self._registry.beat(entry)):
                return
            # It may have forgotten the entry: it is told anew.
            self._known.discard(entry.id)
        self._told_of.add(entry.id)
        if await self._told(self._registry.register(entry)):
            self._known.add(entry.id)
            log.info("registered", service=entry.name, host=entry.host, port=entry.port)

    async def _told(self, telling: Coroutine[None, None, None]) -> bool:
        try:
            async with asyncio.timeout(_TOLD_WITHIN_S):
                await telling
        except Exception as error:  # a token or an answer may break any library
            if not self._failing:
                # Another kind of error may quote the token.
                reason = str(error) if isinstance(error, DiscoveryError) else type(error).__name__
                log.warning("registration_failed", reason=reason)
            self._failing = True
            return False
        self._failing = False
        return True
