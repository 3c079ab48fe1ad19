"""The outermost layer over HTTP: refuses what strangers' web pages send, and marks every answer."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.access.browsers import BrowserRules
from orchestrator.api.access.refusal_log import RefusalLog
from orchestrator.api.errors import ApiError
from orchestrator.api.http.problems import refusal_response

_FORBIDDEN = 4403
"""The close code of a refused WebSocket, where the server cannot answer with a document."""
_MARKS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Gate:
    """An ASGI application around another one.

    A request that :class:`BrowserRules` refuse gets a problem document; nothing behind the gate
    sees it. Every answer says ``no-store`` and ``nosniff``: it may hold a tenant's data, which no
    cache should keep and no browser should take for a page.
    """

    def __init__(self, inner: ASGIApp, rules: BrowserRules, refused: RefusalLog) -> None:
        self.inner = inner
        self._rules = rules
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.inner(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                _mark(message)
            await send(message)

        error = self._refusal(scope)
        if error is None:
            await self.inner(scope, receive, marked)
            return
        self._refused.note(error, transport="http")
        if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
            await refusal_response(error)(scope, receive, marked)
        else:
            await send({"type": "websocket.close", "code": _FORBIDDEN})

    def _refusal(self, scope: Scope) -> ApiError | None:
        hosts: list[str] = []
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value.decode("latin-1"))
            elif name in (b"origin", b"sec-fetch-site"):
                headers[name.decode()] = value.decode("latin-1")
        return self._rules.refusal(scope.get("method"), hosts, headers)


def _mark(message: Message) -> None:
    headers = list(message.get("headers", ()))
    given = {name.lower() for name, _ in headers}
    message["headers"] = [*headers, *(mark for mark in _MARKS if mark[0] not in given)]
