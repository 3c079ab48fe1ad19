"""The common part of all HTTP operations: identify the caller, read a body, answer with JSON."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.access.caller import TENANT_HEADER, Caller
from orchestrator.api.access.rights import Need
from orchestrator.api.http.body import read_bytes, read_json
from orchestrator.api.settings import ApiSettings
from orchestrator.api.use_cases import UseCases

R = TypeVar("R", bound=msgspec.Struct)

_encode = msgspec.json.Encoder().encode


class Calls:
    """Base of the handlers: the use cases, and the start of each call."""

    def __init__(self, use_cases: UseCases, settings: ApiSettings) -> None:
        self._use = use_cases
        self._settings = settings

    async def admit(self, request: Request, need: Need) -> Caller:
        """The caller of a request, who has what it needs; raises ``ApiError``."""
        given = request.headers.get("authorization") or request.headers.get("x-api-key")
        tenant = request.headers.get(TENANT_HEADER)
        caller = await self._use.access.admit(
            given, need, transport="http", tenant=tenant, body_bytes=_announced(request) or 0
        )
        request.state.caller = caller
        return caller

    async def _body(self, request: Request, kind: type[R], *, optional: bool = False) -> R:
        body = await read_bytes(
            request, self._settings.body_max_bytes, timeout_s=self._settings.body_timeout_s
        )
        if _announced(request) is None:
            self._use.access.count_body(request.state.caller, len(body))
        return read_json(request, body, kind, optional=optional)


def _announced(request: Request) -> int | None:
    """The size of the body that the headers announce; None: it shows only when it is read."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdecimal():
        return int(length[:18])
    return None if "transfer-encoding" in request.headers else 0


def json_response(
    answer: msgspec.Struct, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """An answer as JSON."""
    return Response(
        _encode(answer), status_code=status, media_type="application/json", headers=headers
    )
