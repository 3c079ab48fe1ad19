"""Our schemas on the read paths of Confluent's registry, for stock serializers.

Read-only: a schema that is registered here must be a published one. No key is needed: schemas
are the public contract and hold no tenant's data.

Source: Confluent Schema Registry, "API Reference".
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orchestrator.api.errors import ApiError
from orchestrator.api.http.body import read_bytes
from schemas.registry import SchemaVersion, load_versions
from schemas.topics import Topic

_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
_COMPATIBILITY = "FULL_TRANSITIVE"
_BODY_S = 10.0
_BODY_MAX_BYTES = 1024 * 1024


class _RegistryResponse(JSONResponse):
    media_type = _MEDIA_TYPE


class SchemaPaths:
    """The routes."""

    def __init__(self, topics: Iterable[Topic]) -> None:
        by_record: dict[str, list[SchemaVersion]] = defaultdict(list)
        for version in load_versions():
            by_record[version.record].append(version)
        self._by_id = {
            version.id: version for versions in by_record.values() for version in versions
        }
        self._subjects: Mapping[str, list[SchemaVersion]] = {
            f"{topic.name}-value": by_record[topic.record.__name__]
            for topic in topics
            if topic.record is not None
        }

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            Route("/schemas/ids/{schema_id}", self._schema),
            Route("/schemas/types", self._types),
            Route("/subjects", self._list),
            Route("/subjects/{subject}", self._look_up, methods=["POST"]),
            Route("/subjects/{subject}/versions", self._versions, methods=["GET"]),
            Route("/subjects/{subject}/versions", self._register, methods=["POST"]),
            Route("/subjects/{subject}/versions/{version}", self._version),
            Route("/config", self._config),
            Route("/config/{subject}", self._config),
        ]

    async def _schema(self, request: Request) -> Response:
        text = request.path_params["schema_id"]
        version = self._by_id.get(int(text)) if _is_number(text) else None
        if version is None:
            return _refused(404, 40403, "Schema not found")
        return _RegistryResponse({"schema": version.text})

    async def _types(self, request: Request) -> Response:
        return _RegistryResponse(["AVRO"])

    async def _list(self, request: Request) -> Response:
        return _RegistryResponse(sorted(self._subjects))

    async def _versions(self, request: Request) -> Response:
        versions = self._subjects.get(request.path_params["subject"])
        if versions is None:
            return _refused(404, 40401, "Subject not found")
        return _RegistryResponse([version.version for version in versions])

    async def _version(self, request: Request) -> Response:
        subject, wanted = request.path_params["subject"], request.path_params["version"]
        versions = self._subjects.get(subject)
        if versions is None:
            return _refused(404, 40401, "Subject not found")
        if wanted in ("latest", "-1"):
            return _RegistryResponse(_described(subject, _written(versions)[-1]))
        if not _is_number(wanted) or int(wanted) == 0:
            return _refused(422, 42202, "The version is not a number above 0, nor latest")
        for version in versions:
            if version.version == int(wanted):
                return _RegistryResponse(_described(subject, version))
        return _refused(404, 40402, "Version not found")

    async def _look_up(self, request: Request) -> Response:
        subject = request.path_params["subject"]
        versions = self._subjects.get(subject)
        if versions is None:
            return _refused(404, 40401, "Subject not found")
        found = _same(versions, await _schema_in(request))
        if found is None:
            return _refused(404, 40403, "Schema not found")
        return _RegistryResponse(_described(subject, found))

    async def _register(self, request: Request) -> Response:
        versions = self._subjects.get(request.path_params["subject"])
        if versions is None:
            return _refused(404, 40401, "Subject not found")
        schema = await _schema_in(request)
        if schema is None:
            return _refused(422, 42201, "The schema is not an Avro schema")
        found = _same(versions, schema)
        if found is None:
            return _refused(
                422, 42205, "Schemas are published with the orchestrator, not registered here"
            )
        return _RegistryResponse({"id": found.id})

    async def _config(self, request: Request) -> Response:
        subject = request.path_params.get("subject")
        if subject is not None and subject not in self._subjects:
            return _refused(404, 40401, "Subject not found")
        return _RegistryResponse({"compatibilityLevel": _COMPATIBILITY})


def _described(subject: str, version: SchemaVersion) -> dict[str, Any]:
    return {
        "subject": subject,
        "version": version.version,
        "id": version.id,
        "schema": version.text,
    }


def _same(versions: list[SchemaVersion], schema: object) -> SchemaVersion | None:
    """The newest version that equals this schema, ignoring spaces and the order of keys."""
    return next((v for v in reversed(versions) if v.schema == schema), None)


async def _schema_in(request: Request) -> object:
    """The parsed schema in a request; None if it is missing."""
    try:
        body = json.loads(await read_bytes(request, _BODY_MAX_BYTES, timeout_s=_BODY_S))
        text = body.get("schema") if isinstance(body, dict) else None
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError, ApiError):
        return None


def _refused(status: int, code: int, message: str) -> Response:
    return _RegistryResponse({"error_code": code, "message": message}, status_code=status)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _written(versions: Sequence[SchemaVersion]) -> list[SchemaVersion]:
    """Those that may be written: what only the newest release reads is not offered yet."""
    return [version for version in versions if version.written]
