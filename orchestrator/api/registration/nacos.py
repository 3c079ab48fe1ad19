"""Registers at Nacos as an ephemeral instance, which lives by its beats.

Source: Nacos, "Open API Guide", of the versions 1, 2 and 3.
"""

from __future__ import annotations

import msgspec

from agents.services.discovery.registry_http import RegistryHttp
from orchestrator.api.registration.entry import Entry

_PATHS = {1: "/v1/ns/instance", 3: "/v3/client/ns/instance"}
_GROUP = "DEFAULT_GROUP"


class NacosRegistry:
    """A :class:`~orchestrator.api.registration.entry.Registry`.

    Args:
        http: of Nacos, with its context path.
        namespace: its id; empty: the public one.
        api: 1 or 3, the version of the API.
    """

    def __init__(self, http: RegistryHttp, *, namespace: str, api: int) -> None:
        self._http = http
        self._namespace = {"namespaceId": namespace} if namespace else {}
        self._api = api
        self._path = _PATHS[api]

    async def register(self, entry: Entry) -> None:
        """As of every registry."""
        await self._http.send("POST", self._path, self._query(entry))

    async def beat(self, entry: Entry) -> None:
        """As of every registry."""
        if self._api == 3:
            await self._http.send("POST", self._path, {**self._query(entry), "heartBeat": "true"})
            return
        told = {
            "serviceName": f"{_GROUP}@@{entry.name}",
            "ip": entry.host,
            "port": entry.port,
            "cluster": "DEFAULT",
            "weight": 1.0,
            "scheduled": True,
        }
        query = {**self._query(entry), "beat": msgspec.json.encode(told).decode()}
        await self._http.send("PUT", f"{self._path}/beat", query)

    async def leave(self, entry: Entry) -> None:
        """As of every registry."""
        await self._http.send("DELETE", self._path, self._query(entry))

    def _query(self, entry: Entry) -> dict[str, str]:
        return {
            "serviceName": entry.name,
            "groupName": _GROUP,
            "ip": entry.host,
            "port": str(entry.port),
            "ephemeral": "true",
            **self._namespace,
        }
