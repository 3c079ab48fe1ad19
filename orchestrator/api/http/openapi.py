"""The OpenAPI 3.1 document, made from the table of the contract and its types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from orchestrator.api.access.caller import TENANT_HEADER
from orchestrator.api.http.contract import OPERATIONS, Operation
from orchestrator.api.http.problems import PROBLEM_TYPE, Problem
from orchestrator.api.http.stream import SSE_TYPE
from orchestrator.api.tasks.views.event import ChunkView, EventView, HeartbeatView, LaggedView
from schemas.limits import ID_PATTERN

_ALWAYS_REFUSED = frozenset({400, 401, 403, 500, 503})
_STREAM_ITEMS = (EventView, ChunkView, LaggedView, HeartbeatView)
_PARAMETER = re.compile(r"{(\w+)}")
_HEADERS = {
    "Idempotency-Key": "The same key and content give the same task.",
    "Prefer": "wait=N: wait at most N seconds for the end of the task.",
    "Last-Event-ID": "Resume after this sequence.",
}


_KEYS = (
    "A key, or a token of the configured issuer. One that is for all tenants names the tenant of "
    f"the call in the header {TENANT_HEADER}; an operator may leave it out for dead letters."
)


def openapi_document() -> dict[str, Any]:
    """The whole document, ready for JSON."""
    types = sorted(_types(OPERATIONS), key=lambda kind: kind.__name__)
    _, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AI Orchestrator",
            "version": "1",
            "description": "Creates, runs, watches and lists AI tasks, and edits their dead "
            "letters. Errors are problem documents whose code is stable.",
        },
        "security": [{"bearer": []}],
        "paths": paths | _open_paths(),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": _KEYS}
            },
        },
    }


def _types(operations: Sequence[Operation]) -> set[type[msgspec.Struct]]:
    found: set[type[msgspec.Struct]] = {Problem, *_STREAM_ITEMS}
    for operation in operations:
        found.update(kind for kind in operation.answers.values() if kind is not None)
        if operation.body is not None:
            found.add(operation.body)
    return found


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation), *_query(operation), *_header(operation)],
        "responses": _responses(operation),
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": not operation.body_optional,
            "content": {"application/json": {"schema": _ref(operation.body)}},
        }
    return described


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    schema = {"type": "string", "pattern": f"^{ID_PATTERN.pattern}$"}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name in _PARAMETER.findall(operation.path)
    ]


def _query(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = msgspec.json.schema(operation.query)
    [fields] = schema["$defs"].values()
    return [
        {"name": name, "in": "query", "required": False, "schema": _not_null(field)}
        for name, field in fields["properties"].items()
    ]


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is absent or has a value; a query cannot hold null."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        return dict(options[0])
    return {name: value for name, value in schema.items() if name != "default" or value is not None}


def _header(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "header",
            "required": False,
            "description": _HEADERS[name],
            "schema": _header_schema(name),
        }
        for name in operation.headers
    ]


def _header_schema(name: str) -> dict[str, Any]:
    if name == "Last-Event-ID":
        return {"type": "string", "pattern": "^[0-9]{1,18}$"}
    return {"type": "string", "minLength": 1, "maxLength": 256}


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, kind in operation.answers.items():
        content = {} if kind is None else {"application/json": {"schema": _ref(kind)}}
        responses[str(status)] = _response(status, content)
    if operation.streams:
        stream = responses.setdefault("200", _response(200, {}))
        stream.setdefault("content", {})[SSE_TYPE] = {
            "schema": {"type": "string", "description": "data: one of " + _names(_STREAM_ITEMS)}
        }
    for status in sorted(_ALWAYS_REFUSED | operation.refusals):
        responses[str(status)] = _response(status, {PROBLEM_TYPE: {"schema": _ref(Problem)}})
    return responses


def _response(status: int, content: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if content:
        described["content"] = content
    return described


def _ref(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _names(kinds: Sequence[type[msgspec.Struct]]) -> str:
    return ", ".join(kind.__name__ for kind in kinds)


def _open_paths() -> dict[str, Any]:
    """The paths that need no key."""
    state = {"application/json": {"schema": {"type": "object"}}}
    live = {"200": _response(200, state)}
    return {
        "/healthz": {
            "get": {
                "operationId": "healthz",
                "summary": "The process runs.",
                "security": [],
                "responses": live,
            }
        },
        "/readyz": {
            "get": {
                "operationId": "readyz",
                "summary": "It has read all that was there at its start.",
                "security": [],
                "responses": live | {"503": _response(503, state)},
            }
        },
    }
