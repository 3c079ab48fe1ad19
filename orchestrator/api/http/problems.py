"""Our refusals as problem documents (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
import structlog
from msgspec import UNSET, UnsetType
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.errors import ApiError, Kind
from orchestrator.api.tasks.views.view import View

log = structlog.get_logger()

PROBLEM_TYPE = "application/problem+json"
_PAGE = "https://ai-orchestrator.invalid/errors#"
"""A name, not an address: docs/errors.md has the table."""


class ProblemField(View, frozen=True, kw_only=True):
    """A field of the request that is wrong."""

    name: str
    message: str


class Problem(View, frozen=True, kw_only=True):
    """An error (RFC 9457, ``application/problem+json``); ``code`` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[ProblemField] | UnsetType = UNSET
    retry_after_s: float | UnsetType = UNSET
    task_id: str | UnsetType = UNSET


STATUSES = {
    Kind.INVALID: HTTPStatus.BAD_REQUEST,
    Kind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.MEDIA_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Kind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Kind.DENIED: HTTPStatus.FORBIDDEN,
    Kind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Kind.CONFLICT: HTTPStatus.CONFLICT,
    Kind.EXISTS: HTTPStatus.CONFLICT,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.LATE: HTTPStatus.REQUEST_TIMEOUT,
    Kind.LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_UNREAD = frozenset({Kind.LATE})
"""Refusals of a body that was not read to its end."""
_ROUTING_CODES = {404: "PATH_UNKNOWN", 405: "METHOD_NOT_ALLOWED"}


def problem_of(error: ApiError) -> Problem:
    """The problem document of a refusal."""
    status = STATUSES[error.kind]
    fields = [] if error.field is None else [ProblemField(name=error.field, message=str(error))]
    return Problem(
        type=_PAGE + error.code,
        title=status.phrase,
        status=status,
        detail=str(error),
        code=error.code,
        errors=fields or UNSET,
        retry_after_s=UNSET if error.retry_after_s is None else error.retry_after_s,
        task_id=UNSET if error.task_id is None else error.task_id,
    )


def problem_bytes(status: int, code: str, detail: str) -> bytes:
    """A problem document for a connection without a request that could be handled."""
    title = HTTPStatus(status).phrase
    problem = Problem(type=_PAGE + code, title=title, status=status, detail=detail, code=code)
    return msgspec.json.encode(problem)


async def on_refusal(request: Request, error: Exception) -> Response:
    """Answer a refusal."""
    assert isinstance(error, ApiError)
    return refusal_response(error)


def refusal_response(error: ApiError) -> Response:
    """The answer for a refusal."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if error.kind in _UNREAD:
        # The rest of the body would be read for nothing.
        headers["Connection"] = "close"
    if error.kind is Kind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    return _response(problem_of(error), headers)


async def on_routing(request: Request, error: Exception) -> Response:
    """Answer an unknown path or method."""
    assert isinstance(error, HTTPException)
    code = _ROUTING_CODES.get(error.status_code, "REQUEST_INVALID")
    problem = Problem(
        type=_PAGE + code,
        title=HTTPStatus(error.status_code).phrase,
        status=error.status_code,
        detail="there is nothing like this here: see /openapi.json",
        code=code,
    )
    return _response(problem, dict(error.headers or {}))


async def on_fault(request: Request, error: Exception) -> Response:
    """Answer a bug of ours: the log has the error, the caller gets only its name."""
    log.error("call_failed", path=request.url.path, error=type(error).__name__, exc_info=error)
    message = "a fault of the server; its log has the reason"
    return _response(problem_of(ApiError("INTERNAL", message, kind=Kind.INTERNAL)), {})


def _response(problem: Problem, headers: dict[str, str]) -> Response:
    return Response(
        msgspec.json.encode(problem),
        status_code=problem.status,
        media_type=PROBLEM_TYPE,
        headers=headers,
    )
