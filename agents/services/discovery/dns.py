"""Endpoints from the addresses of a name, as a headless service of Kubernetes has them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from agents.services.discovery.endpoint import Endpoint, usable
from agents.services.discovery.following import DiscoveryError

Resolve = Callable[[str, int], Awaitable[Sequence[tuple[Any, ...]]]]


class DnsLookup:
    """An :class:`~agents.services.discovery.following.EndpointLookup` by the system's resolver.

    The system's resolver reads ``/etc/hosts`` and the search list, as each other program does. It
    does not tell for how long an answer is good: the name is looked up in an interval.

    Args:
        name: to look up; also the name that certificates must be for.
        port: of every endpoint.
        every_s: the interval.
        resolve: as ``getaddrinfo`` of an event loop; for tests.
    """

    kind = "dns"
    timeout_s = 10.0

    def __init__(
        self, name: str, port: int, *, every_s: float, resolve: Resolve | None = None
    ) -> None:
        self._name = name
        self._port = port
        self._resolve = resolve or _resolved
        self.pause_s = every_s

    async def look(self) -> Sequence[Endpoint]:
        """The addresses of the name, of both families.

        An instance with an address of each counts twice. Were one family chosen, an instance that
        listens on the other one only would get no call.
        """
        try:
            found = await self._resolve(self._name, self._port)
        except (OSError, UnicodeError):
            raise DiscoveryError("the name cannot be resolved") from None
        return usable((address[0], self._port, self._name) for *_, address in found)


async def _resolved(name: str, port: int) -> Sequence[tuple[Any, ...]]:
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(
        name, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_ADDRCONFIG
    )
