"""The span of each HTTP request, around the whole application."""

from __future__ import annotations

from opentelemetry.trace import Span, SpanKind
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams import span_names as names
from streams.traceparent import TRACE_HEADERS, passed_on
from streams.tracing import describe, fail, rename, traced

_HEADERS = {name.encode(): name for name in TRACE_HEADERS}
_UNTRACED = frozenset({"/healthz", "/readyz", "/openapi.json"})
_FAULT = 500


class TracedApp:
    """An ASGI application around another one: a span for each request, except health checks.

    A request continues the trace that its headers name. WebSockets have no span, because they are
    open for hours; a stream of server-sent events has one, which ends with the stream.
    """

    def __init__(self, inner: ASGIApp) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on inside its span."""
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self.inner(scope, receive, send)
            return
        with _span_of(scope) as call:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _note_status(call.span, message["status"])
                await send(message)

            try:
                await self.inner(scope, receive, noted)
            finally:
                _name(call.span, scope)


def _span_of(scope: Scope) -> traced:
    carried = passed_on(
        [(_HEADERS[name], value) for name, value in scope["headers"] if name in _HEADERS]
    )
    method = str(scope["method"])
    return traced(
        method, SpanKind.SERVER, carried=carried, describe=lambda: {names.HTTP_METHOD: method}
    )


def _note_status(span: Span, status: int) -> None:
    describe(span, lambda: {names.HTTP_STATUS: status})
    if status >= _FAULT:
        fail(span, str(status))


def _name(span: Span, scope: Scope) -> None:
    """Name the span by its route, which is known only now: a path would name a task."""
    path = getattr(scope.get("route"), "path", None)
    if path is not None:
        rename(span, f"{scope['method']} {path}")
        describe(span, lambda: {names.HTTP_ROUTE: path})
