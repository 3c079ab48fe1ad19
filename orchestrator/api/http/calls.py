"""The common part of all HTTP operations: identify the caller, read a body, answer with JSON."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.access.caller import Caller
from orchestrator.api.access.named import named_key, named_tenant
from orchestrator.api.access.rights import Need
from orchestrator.api.errors import ApiError, Kind
from orchestrator.api.http.body import announced_bytes, body_too_large, read_bytes, read_json
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
        """The caller of a request, who has what it needs; raises ``ApiError``.

        A body that is announced as too large is refused before anything is counted.
        """
        announced = announced_bytes(request.headers) or 0
        if announced > self._settings.body_max_bytes:
            raise body_too_large(self._settings.body_max_bytes)
        key, tenant = named_key(request.headers.getlist), named_tenant(request.headers.getlist)
        caller = await self._use.access.admit(
            key, need, transport="http", tenant=tenant, body_bytes=announced
        )
        request.state.caller = caller
        return caller

    async def _body(self, request: Request, kind: type[R], *, optional: bool = False) -> R:
        most, counted = self._settings.body_max_bytes, 0
        try:
            body = await read_bytes(request, most, timeout_s=self._settings.body_timeout_s)
            counted = len(body)
        except ApiError as error:
            counted = most if error.kind is Kind.TOO_LARGE else 0
            raise
        finally:
            if announced_bytes(request.headers) is None:
                self._use.access.count_body(request.state.caller, counted)
        return read_json(request, body, kind, optional=optional)


def json_response(
    answer: msgspec.Struct, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """An answer as JSON."""
    return Response(
        _encode(answer), status_code=status, media_type="application/json", headers=headers
    )
