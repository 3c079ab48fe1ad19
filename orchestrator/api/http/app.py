"""The HTTP application: routes from the contract, health, schemas, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from orchestrator.api.access.refusal_log import RefusalLog
from orchestrator.api.errors import ApiError
from orchestrator.api.http.contract import OPERATIONS
from orchestrator.api.http.counting import Counting
from orchestrator.api.http.gate import Gate
from orchestrator.api.http.handlers import Handlers
from orchestrator.api.http.letters import LetterHandlers
from orchestrator.api.http.openapi import openapi_document
from orchestrator.api.http.problems import on_fault, on_refusal, on_routing
from orchestrator.api.http.registry import SchemaPaths
from orchestrator.api.http.traced_app import TracedApp
from orchestrator.api.http.websocket import Sockets
from orchestrator.api.settings import ApiSettings
from orchestrator.api.use_cases import UseCases
from schemas.topics import Topic

READY = "ready"


def http_app(
    use_cases: UseCases,
    settings: ApiSettings,
    topics: Iterable[Topic],
    readiness: Callable[[], str],
) -> ASGIApp:
    """Build the application; ``readiness`` returns ``READY``, or the reason why it is not ready."""
    document = msgspec.json.encode(openapi_document())
    handlers = (Handlers(use_cases, settings), LetterHandlers(use_cases, settings))

    async def openapi(request: Request) -> Response:
        return Response(document, media_type="application/json")

    async def healthz(request: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    async def readyz(request: Request) -> Response:
        said = readiness()
        body = b'{"status":"%s"}' % said.encode()
        status = 200 if said == READY else 503
        return Response(body, status_code=status, media_type="application/json")

    operations = [Route(op.path, op.bound(handlers), methods=[op.method]) for op in OPERATIONS]
    routed = Starlette(
        routes=[
            # The most specific first: an id may end like a verb.
            *sorted(operations, key=lambda route: (":" not in route.path, route.path)),
            WebSocketRoute("/api/v1/ws", Sockets(use_cases, settings).serve),
            Route("/openapi.json", openapi),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            *SchemaPaths(topics).routes(),
        ],
        exception_handlers={
            ApiError: on_refusal,
            HTTPException: on_routing,
            Exception: on_fault,
        },
    )
    # Around all of it, so that the answer to a fault is marked, too.
    gate = Gate(routed, settings.browser_rules, RefusalLog())
    return Counting(TracedApp(gate), routed.routes)
