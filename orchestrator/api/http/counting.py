"""Counts requests by their route, not by their path: a path holds ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.metrics import HTTP_REQUESTS

UNMATCHED = "unmatched"
"""The route of a request that no route takes, or that is refused before it is routed."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"
_STARTS: Mapping[str, str | None] = {
    # None: the message names its status.
    "http.response.start": None,
    "websocket.http.response.start": None,
    "websocket.accept": "101",
    # Before it was accepted; afterwards the request is counted already.
    "websocket.close": "403",
}


class Counting:
    """An ASGI application around another one; counts each request when its answer begins."""

    def __init__(self, inner: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self.inner = inner
        self._paths: dict[Any, str] = {
            route.endpoint: route.path
            for route in routes
            if isinstance(route, Route | WebSocketRoute)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it."""
        if scope["type"] not in ("http", "websocket"):
            await self.inner(scope, receive, send)
            return
        answered = False

        async def noted(message: Message) -> None:
            nonlocal answered
            kind = message["type"]
            if not answered and kind in _STARTS:
                answered = True
                self._count(scope, _STARTS[kind] or str(message["status"]))
            await send(message)

        await self.inner(scope, receive, noted)

    def _count(self, scope: Scope, status: str) -> None:
        # The router leaves the endpoint in the scope that it was given.
        route = self._paths.get(scope.get("endpoint"), UNMATCHED)
        method = scope.get("method", "GET")
        HTTP_REQUESTS.labels(route, method if method in _METHODS else _OTHER, status).inc()
