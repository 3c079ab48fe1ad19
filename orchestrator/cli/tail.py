"""``orchestrator tail TOPIC``: the records of a topic as JSON lines."""

import asyncio
import json
import os
import sys
from typing import Annotated, Any

import msgspec
import typer

from orchestrator.roles import topic_table
from orchestrator.settings import Settings, load_settings
from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError, SettingsError
from schemas.topics import DLQ_PREFIX, Topic
from streams.log_reader import LogReader
from tasks.pipeline_file import load_pipelines


def tail(
    topic: Annotated[str, typer.Argument(help="A topic's name, its prefix may be left out.")],
    from_start: Annotated[
        bool, typer.Option("--from-start", help="From the first record that is still there.")
    ] = False,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop at the end that the topic has now.")
    ] = False,
) -> None:
    """Print records as they come: one JSON object a line, the value decoded.

    A value that does not decode is printed as hex, with the reason.
    """
    settings = load_settings(os.environ)
    if not settings.kafka.bootstrap:
        raise SettingsError("ORCH_KAFKA_BOOTSTRAP is not set")
    try:
        asyncio.run(_tail(_find(topic, settings), settings, from_start, until_end))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


async def _tail(topic: Topic, settings: Settings, from_start: bool, until_end: bool) -> None:
    async with LogReader(settings.kafka, client_id=f"{settings.kafka.client_id}-tail") as reader:
        partitions = await reader.partitions(topic.name)
        bounds = {p: await reader.bounds(topic.name, p) for p in partitions}
        starts = {p: first if from_start else end for p, (first, end) in bounds.items()}
        if until_end:
            for partition, (_, end) in bounds.items():
                start = starts[partition]
                async for records in reader.read(topic.name, partition, start, end):
                    _print(records, topic)
            return
        async for records in reader.follow(topic.name, starts):
            _print(records, topic)


def as_json(record: Origin, topic: Topic) -> dict[str, Any]:
    """One record, ready for ``json.dumps``; bytes that are no text become hex."""
    shown: dict[str, Any] = {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
        "key": _text(record.key),
        "headers": [[name, _text(value)] for name, value in record.headers],
    }
    if topic.record is None:
        return shown | {"value_hex": None if record.value is None else record.value.hex()}
    try:
        return shown | {"value": msgspec.to_builtins(decode(record.value, topic.record))}
    except DecodeError as error:
        value = None if record.value is None else record.value.hex()
        return shown | {"value_hex": value, "undecodable": f"{error.code}: {error}"}


def _print(records: Any, topic: Topic) -> None:
    for record in records:
        sys.stdout.write(json.dumps(as_json(record, topic), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def _find(name: str, settings: Settings) -> Topic:
    table = {topic.name: topic for topic in topic_table(settings, load_pipelines())}
    prefix = settings.topics.prefix
    short = name.removeprefix(DLQ_PREFIX)
    dlq = DLQ_PREFIX if name.startswith(DLQ_PREFIX) else ""
    for candidate in (name, f"{dlq}{prefix}{short}", f"{dlq}{prefix}{short}.v1"):
        if candidate in table:
            return table[candidate]
    raise SettingsError(f"there is no topic {name!r}; `orchestrator topics list` shows all")
