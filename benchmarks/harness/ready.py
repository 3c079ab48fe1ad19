"""Whether a process says that it is ready."""

from __future__ import annotations

import asyncio

import httpx


async def is_ready(client: httpx.AsyncClient, address: str | None) -> bool:
    """Ask ``/readyz`` at an address; None, and a process that does not answer, is not ready."""
    if address is None:
        return False
    try:
        return (await client.get(f"http://{address}/readyz")).is_success
    except httpx.TransportError:
        return False


async def until_ready(client: httpx.AsyncClient, address: str) -> None:
    """Wait until a process is ready, at most a minute; TimeoutError after that."""
    async with asyncio.timeout(60):
        while not await is_ready(client, address):  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.1)
