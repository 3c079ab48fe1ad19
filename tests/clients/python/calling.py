"""The blocking and the asyncio client, called in one way."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from ai_orchestrator import AsyncClient, Client

Handler = Callable[[httpx.Request], httpx.Response]

over_both = pytest.mark.parametrize("kind", [Client, AsyncClient], ids=["sync", "async"])


async def done(client: Client | AsyncClient, name: str, *given: Any, **options: Any) -> Any:
    """Call a method; what it returns, or the list of what it yields."""
    method = getattr(client, name)
    if isinstance(client, Client):
        return await asyncio.to_thread(_blocking, method, given, options)
    found = method(*given, **options)
    return await found if inspect.isawaitable(found) else [item async for item in found]


def a_client(
    kind: type[Client] | type[AsyncClient],
    handler: Handler,
    urls: Sequence[str] = ("http://a",),
    **options: Any,
) -> Client | AsyncClient:
    """A client whose service is a function."""
    transport = httpx.MockTransport(handler)
    if kind is Client:
        return Client(*urls, http=httpx.Client(transport=transport), **options)
    return AsyncClient(*urls, http=httpx.AsyncClient(transport=transport), **options)


def _blocking(method: Any, given: Any, options: Any) -> Any:
    found = method(*given, **options)
    return list(found) if inspect.isgenerator(found) else found
