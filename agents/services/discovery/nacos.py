"""Endpoints from Nacos: the healthy instances of a service, by its HTTP API for clients.

Source: Nacos, "Open API Guide", of the versions 1, 2 and 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from agents.services.discovery.endpoint import Endpoint, endpoint_of
from agents.services.discovery.following import DiscoveryError
from agents.services.discovery.registry_http import RegistryHttp

ENTRIES_MAX = 10_000

PATHS = {1: "/v1/ns/instance/list", 3: "/v3/client/ns/instance/list"}
"""By the version of the API. The first one is that of Nacos 1 and 2, and of rnacos."""


class NacosLookup:
    """An :class:`~agents.services.discovery.following.EndpointLookup` by asking in an interval.

    Args:
        http: of Nacos, with its context path.
        name: of the service.
        group: of the service; empty: Nacos' default group.
        namespace: the id of the namespace; empty: the public one.
        api: 1 or 3, see ``PATHS``.
        every_s: the interval.
    """

    kind = "nacos"
    timeout_s = 10.0

    def __init__(
        self,
        http: RegistryHttp,
        name: str,
        *,
        group: str = "",
        namespace: str = "",
        api: int = 1,
        every_s: float,
    ) -> None:
        self._http = http
        self._path = PATHS[api]
        self._query = {
            "serviceName": name,
            "groupName": group or "DEFAULT_GROUP",
            "healthyOnly": "true",
        } | ({"namespaceId": namespace} if namespace else {})
        self.pause_s = every_s

    async def look(self) -> Sequence[Endpoint]:
        """The instances that are healthy, enabled and have a weight."""
        return _endpoints((await self._http.get(self._path, self._query)).body)


class _Instance(msgspec.Struct):
    ip: str
    port: int
    healthy: bool = True
    enabled: bool = True
    weight: float = 1.0


_Entries = Annotated[list[msgspec.Raw], msgspec.Meta(max_length=ENTRIES_MAX)]


class _Hosts(msgspec.Struct):
    hosts: _Entries


class _Answer(msgspec.Struct):
    hosts: _Entries | None = None
    data: _Hosts | _Entries | None = None


def _endpoints(body: bytes) -> list[Endpoint]:
    """The endpoints of an answer. An entry that cannot be read does not spoil the others."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise DiscoveryError("the answer of the registry cannot be read") from None
    data = answer.data.hosts if isinstance(answer.data, _Hosts) else answer.data
    entries = answer.hosts if answer.hosts is not None else data
    if entries is None:
        raise DiscoveryError("the answer of the registry is not a list of instances")
    found, unreadable = [], 0
    for raw in entries:
        try:
            one = msgspec.json.decode(raw, type=_Instance)
            if one.healthy and one.enabled and one.weight > 0:
                found.append(endpoint_of(one.ip, one.port))
        except (ValueError, RecursionError):
            unreadable += 1
    if unreadable and not found:
        raise DiscoveryError("no entry of the registry's list can be read")
    return found
