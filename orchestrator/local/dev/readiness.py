"""Waits until the service of ``dev`` answers."""

import asyncio

import httpx

_TIMEOUT_S = 60.0
_REQUEST_S = 5.0
_PAUSE_S = 0.1


async def service_answers(address: str, *, timeout_s: float = _TIMEOUT_S) -> bool:
    """Wait until the service reports that it is ready; False if it does not in time.

    Args:
        address: ``HOST:PORT`` of the service over HTTP.
        timeout_s: bound of the whole wait.
    """
    url = f"http://{address}/readyz"
    try:
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(trust_env=False, timeout=_REQUEST_S) as client,
        ):
            while not await _is_ready(client, url):  # noqa: ASYNC110  # another process
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        return False
    return True


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
