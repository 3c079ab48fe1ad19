"""Endpoints from Consul: the instances of a service whose checks pass.

Source: Consul's HTTP API, "List Service Instances for Service" and "Blocking Queries".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

import msgspec

from agents.services.discovery.endpoint import Endpoint, endpoint_of
from agents.services.discovery.following import DiscoveryError
from agents.services.discovery.registry_http import RegistryHttp

WAIT_S = 30.0
"""Consul answers after this time although nothing has changed. It adds up to a sixteenth."""

ENTRIES_MAX = 10_000

_INDEX_DIGITS_MAX = 20


class ConsulLookup:
    """An :class:`~agents.services.discovery.following.EndpointLookup` by blocking queries.

    Args:
        http: of the agent.
        name: of the service in Consul.
        tag: that its instances must have; empty: any.
        wait_s: how long a query may block.
        pause_s: between two queries, which matters if Consul does not block.
    """

    kind = "consul"

    def __init__(
        self,
        http: RegistryHttp,
        name: str,
        *,
        tag: str = "",
        wait_s: float = WAIT_S,
        pause_s: float = 1.0,
    ) -> None:
        self._http = http
        self._path = f"/v1/health/service/{quote(name, safe='')}"
        self._query = {"passing": "1"} | ({"tag": tag} if tag else {})
        self._wait_s = wait_s
        self._index = 0
        self.pause_s = pause_s
        self.timeout_s = wait_s * 17 / 16 + 10.0

    async def look(self) -> Sequence[Endpoint]:
        """The passing instances, as soon as they may differ from those of the last look."""
        # After a failure the next look does not block: Consul may be another one by then.
        index, self._index = self._index, 0
        query = self._query
        if index:
            query = query | {"index": str(index), "wait": f"{int(self._wait_s * 1000)}ms"}
        answer = await self._http.get(self._path, query)
        found = _endpoints(answer.body)
        self._index = next_index(index, answer.headers.get("x-consul-index"))
        return found


def next_index(last: int, header: str | None) -> int:
    """The index to wait for; 0: ask without waiting, because the last index is worth nothing.

    Args:
        last: that of the last query.
        header: what Consul answered. Lower than ``last`` after Consul's state was restored: to wait
            for the old index would miss every change until it is reached.
    """
    if header is None or not (header.isascii() and header.isdigit()):
        return 0
    if len(header) > _INDEX_DIGITS_MAX:
        return 0
    index = int(header)
    return 0 if index < last else index


class _Service(msgspec.Struct, rename="pascal"):
    port: int
    address: str = ""


class _Node(msgspec.Struct, rename="pascal"):
    address: str = ""


class _Entry(msgspec.Struct, rename="pascal"):
    service: _Service
    node: _Node = msgspec.field(default_factory=_Node)


_Entries = Annotated[list[msgspec.Raw], msgspec.Meta(max_length=ENTRIES_MAX)]


def _endpoints(body: bytes) -> list[Endpoint]:
    """The endpoints of an answer. An entry that cannot be read does not spoil the others."""
    try:
        entries = msgspec.json.decode(body, type=_Entries)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise DiscoveryError("the answer of the registry cannot be read") from None
    found = []
    for raw in entries:
        try:
            entry = msgspec.json.decode(raw, type=_Entry)
            # An instance without an address of its own has that of its node.
            host = entry.service.address or entry.node.address
            found.append(endpoint_of(host, entry.service.port))
        except (ValueError, RecursionError):
            continue
    if entries and not found:
        raise DiscoveryError("no entry of the registry's list can be read")
    return found
