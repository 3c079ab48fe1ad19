"""Our schemas in a schema registry: registered there, and its ids used on the wire.

Speaks the API of Confluent's registry, which others (Apicurio, Karapace, Redpanda) offer too.
Subjects follow TopicNameStrategy: ``<topic>-value``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

import httpx
import structlog

from schemas.codec import adopt_ids
from schemas.registry import SchemaVersion, load_versions
from schemas.topics import Topic
from streams.errors import SchemaRegistryError
from streams.settings import SchemasSettings

log = structlog.get_logger()

_NOT_FOUND = 404
COMPATIBILITY = "FULL_TRANSITIVE"
"""Every version reads what every other wrote; a test keeps our schemas so."""


async def use_registry(settings: SchemasSettings, table: Sequence[Topic]) -> None:
    """Let this process write the registry's ids; without a registry do nothing.

    For each version of each record the registry is asked under the record's first subject;
    a version that it does not have is registered.

    Raises:
        SchemaRegistryError: no answer in time, or a refusal. The process must not start: it
            would write values that readers of the registry cannot read.
    """
    if not settings.registry_url:
        return
    first = {topic.record.__name__: topic for topic in reversed(table) if topic.record}
    async with _Registry(settings) as registry:
        ids = await registry.ids(first.values())
    adopt_ids(ids)
    log.info("schema_ids_adopted", ids={f"{name}.{number}": n for (name, number), n in ids.items()})


async def register_schemas(settings: SchemasSettings, table: Sequence[Topic]) -> int:
    """Register all versions of all records under the subjects of all topics; return how many.

    Registered schemas stay as they are. Each subject is set to FULL_TRANSITIVE.

    Raises:
        SchemaRegistryError: schemas that were registered before stay; run the call again.
    """
    if not settings.registry_url:
        return 0
    async with _Registry(settings) as registry:
        topics = [topic for topic in table if topic.record]
        for topic in topics:
            await registry.set_compatibility(topic)
            await registry.ids([topic])
    return len(topics)


def registered_text(version: SchemaVersion) -> str:
    """A schema as it is registered.

    Apicurio (3.0.9) rejects a schema as invalid Avro if one of its defaults is the text ``{}``. The
    JSON object ``{ }`` means the same; the bytes of values do not depend on it.
    """
    return json.dumps(_with_spaced_defaults(version.schema))


def _with_spaced_defaults(node: Any) -> Any:
    if isinstance(node, list):
        return [_with_spaced_defaults(item) for item in node]
    if isinstance(node, dict):
        changed = {name: _with_spaced_defaults(value) for name, value in node.items()}
        return changed | ({"default": "{ }"} if node.get("default") == "{}" else {})
    return node


class _Registry:
    def __init__(self, settings: SchemasSettings) -> None:
        self._timeout = asyncio.timeout(settings.registry_timeout_s)
        self._client = httpx.AsyncClient(
            base_url=settings.registry_url.rstrip("/") + "/",
            timeout=settings.registry_timeout_s,
            # One connection for each request: httpx gives bytes that a server wrote too much to the
            # next request of a kept connection, and they would be read as the id of another schema.
            limits=httpx.Limits(max_keepalive_connections=0),
            headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
        )

    async def __aenter__(self) -> _Registry:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        await self._client.aclose()
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise SchemaRegistryError("the schema registry did not answer in time") from late

    async def ids(self, topics: Iterable[Topic]) -> dict[tuple[str, int], int]:
        """The id of every version of these topics' records, by record and version."""
        found = {}
        for topic in topics:
            for version in load_versions():
                if topic.record and version.record == topic.record.__name__:
                    found[version.record, version.version] = await self._id(topic, version)
        return found

    async def set_compatibility(self, topic: Topic) -> None:
        """Make the registry refuse schemas that readers of this topic could not read."""
        body = {"compatibility": COMPATIBILITY}
        _checked(await self._ask("PUT", f"config/{_subject(topic)}", body))

    async def _id(self, topic: Topic, version: SchemaVersion) -> int:
        subject = f"subjects/{_subject(topic)}"
        body = {"schema": registered_text(version), "schemaType": "AVRO"}
        answer = await self._ask("POST", subject, body)
        if answer.status_code == _NOT_FOUND:
            answer = await self._ask("POST", f"{subject}/versions", body)
        try:
            return int(_checked(answer)["id"])
        except (KeyError, TypeError, ValueError) as error:
            raise SchemaRegistryError(f"{subject}: the answer has no schema id") from error

    async def _ask(self, method: str, path: str, body: dict[str, str]) -> httpx.Response:
        try:
            return await self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            # The exception's text holds the host, and never the password.
            raise SchemaRegistryError(
                f"the schema registry does not answer: {type(error).__name__}"
            ) from error


def _subject(topic: Topic) -> str:
    return f"{topic.name}-value"


def _checked(answer: httpx.Response) -> Any:
    if answer.is_success:
        try:
            return answer.json()
        except ValueError as error:
            raise SchemaRegistryError(f"{answer.url.path}: the answer is not JSON") from error
    raise SchemaRegistryError(f"{answer.url.path}: {answer.status_code} {answer.text[:300]}")
