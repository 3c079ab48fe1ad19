"""One place at which a service answers, and where lists of them come from."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Protocol

ENDPOINTS_MAX = 1_000
"""A longer list is not used: each endpoint may get a connection from each worker."""

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_NAME_MAX = 253
_LIKE_ADDRESS = re.compile(r"[0-9.]+")
"""A name whose last label is a number is read as an address by resolvers, and this is none."""


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """Where one instance of a service listens."""

    host: str
    """A name or an IP address, without brackets."""
    port: int
    server_name: str | None = None
    """The name that its certificate must be for, and that requests carry; None: the host."""

    @property
    def authority(self) -> str:
        """``host:port``, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoint_of(host: str, port: int, server_name: str | None = None) -> Endpoint:
    """An endpoint from foreign text.

    Raises:
        ValueError: the host is not a name and not an address, or the port is not 1 to 65535. The
            message does not quote them.
    """
    if not 1 <= port <= 65535:
        raise ValueError("a port is not 1 to 65535")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if len(host) > _NAME_MAX or not _NAME.fullmatch(host) or _LIKE_ADDRESS.fullmatch(host):
            raise ValueError("a host is not a name and not an address") from None
        return Endpoint(host, port, server_name)
    if address.is_unspecified or address.is_multicast or "%" in host:
        raise ValueError("an address is not that of a host")
    return Endpoint(str(address), port, server_name)


def usable(found: Iterable[tuple[str, int, str | None]]) -> list[Endpoint]:
    """The endpoints in a look-up: host, port and server name. One that is none is left out."""
    endpoints = []
    for host, port, server_name in found:
        try:
            endpoints.append(endpoint_of(host, port, server_name))
        except ValueError:
            continue
    return endpoints


class EndpointSource(Protocol):
    """Where the endpoints of one service come from."""

    def watch(self) -> AsyncIterator[tuple[Endpoint, ...]]:
        """The list now, and each list that differs from the one before.

        A list is not empty, holds no endpoint twice and at most ``ENDPOINTS_MAX``. While the
        source is away, empty or answers nonsense, nothing comes: the last list stays good. May
        end, if the list cannot change. Cancelling the iteration stops the watch.
        """
        ...
