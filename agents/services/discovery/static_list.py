"""Endpoints that the address names itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from agents.services.discovery.endpoint import Endpoint


class StaticEndpoints:
    """An :class:`~agents.services.discovery.endpoint.EndpointSource` that does not change."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = tuple(endpoints)

    async def watch(self) -> AsyncIterator[tuple[Endpoint, ...]]:
        """The list, once."""
        yield self._endpoints
