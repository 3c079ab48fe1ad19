"""Registers at a Consul agent, with a check that we have to confirm.

Source: Consul's HTTP API, "Agent: Service" and "Agent: Check".
"""

from __future__ import annotations

from urllib.parse import quote

from agents.services.discovery.registry_http import RegistryHttp
from orchestrator.api.registration.entry import EXPIRES_S, FORGOTTEN_S, Entry


class ConsulRegistry:
    """A :class:`~orchestrator.api.registration.entry.Registry`.

    Args:
        http: of the agent.
    """

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    async def register(self, entry: Entry) -> None:
        """As of every registry."""
        told = {
            "ID": entry.id,
            "Name": entry.name,
            "Address": entry.host,
            "Port": entry.port,
            "Check": {
                "CheckID": _check(entry),
                "TTL": f"{EXPIRES_S}s",
                "Status": "passing",
                "DeregisterCriticalServiceAfter": f"{FORGOTTEN_S}s",
            },
        }
        await self._http.send(
            "PUT", "/v1/agent/service/register", {"replace-existing-checks": "true"}, told
        )

    async def beat(self, entry: Entry) -> None:
        """As of every registry."""
        await self._http.send("PUT", f"/v1/agent/check/pass/{quote(_check(entry), safe='')}", {})

    async def leave(self, entry: Entry) -> None:
        """As of every registry."""
        path = f"/v1/agent/service/deregister/{quote(entry.id, safe='')}"
        await self._http.send("PUT", path, {})


def _check(entry: Entry) -> str:
    return f"service:{entry.id}"
