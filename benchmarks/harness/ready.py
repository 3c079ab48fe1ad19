"""Whether a process says that it is ready."""

from __future__ import annotations

import httpx


async def is_ready(client: httpx.AsyncClient, address: str | None) -> bool:
    """Ask ``/readyz`` at an address; None, and a process that does not answer, is not ready."""
    if address is None:
        return False
    try:
        return (await client.get(f"http://{address}/readyz")).is_success
    except httpx.TransportError:
        return False
