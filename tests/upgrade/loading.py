"""Loads what an older version left into servers of today, as if it had been left just now.

Deadlines would have passed and records would have expired by retention, so every time in the
fixture is moved by the same whole number of seconds: numbers in Avro records and in JSON that are
milliseconds near the fixture's making, and dates in text. Records are encoded again with the
schema that they were written with.
"""

import base64
import gzip
import io
import json
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import asyncpg
import fastavro
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from sinks.schema.migrate import migrate_up
from sinks.schema.migration import Migration
from tests.checker.wire import WRITERS, Kept
from tests.upgrade.contents import PREFIX

FIXTURE = Path(__file__).parent / "fixture.json.gz"
_NEAR_MS = 40 * 24 * 3_600_000
_MILLIS = re.compile(r"(?<![\w.])\d{13}(?![\w.])")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_DATE_FORM = "%Y-%m-%dT%H:%M:%S"


@dataclass(frozen=True)
class Fixture:
    """What ``make_fixtures.py`` wrote."""

    content: Mapping[str, Any]
    shift_s: int
    """Added to every time."""

    @property
    def topics(self) -> Sequence[tuple[str, int, dict[str, str]]]:
        """Name, partitions and configuration of each topic."""
        return [(name, partitions, config) for name, partitions, config in self.content["topics"]]

    @property
    def migrations(self) -> list[Migration]:
        """The schema of that version."""
        return [
            Migration(name=name, checksum=checksum, up=up, down="")
            for name, checksum, up in self.content["migrations"]
        ]

    @cached_property
    def records(self) -> list[Kept]:
        """All records, in order within each partition."""
        return [self._record(*fields) for fields in self.content["records"]]

    def tables(self) -> dict[str, list[Any]]:
        """All rows, by table."""
        tables: dict[str, list[Any]] = json.loads(self._text(json.dumps(self.content["tables"])))
        return tables

    def of(self, topic: str) -> list[Kept]:
        """The records of ``task-state`` and the like."""
        return [record for record in self.records if record.topic == f"{PREFIX}{topic}.v1"]

    def _record(  # the columns of the fixture
        self,
        topic: str,
        partition: int,
        offset: int,
        timestamp_ms: int,
        key: str | None,
        value: str | None,
        headers: list[tuple[str, str | None]],
    ) -> Kept:
        moved = tuple((name, self._header(_bytes(text))) for name, text in headers)
        at_ms = timestamp_ms + self.shift_s * 1000
        return Kept(topic, partition, offset, at_ms, _bytes(key), self._value(_bytes(value)), moved)

    def _header(self, value: bytes | None) -> bytes | None:
        if value is None:
            return None
        try:
            return self._text(value.decode()).encode()
        except UnicodeDecodeError:
            return value

    def _value(self, value: bytes | None) -> bytes | None:
        """The value with its times moved; as it is if it is no record of ours."""
        writer = None if value is None else WRITERS.get(int.from_bytes(value[1:5], "big"))
        if value is None or writer is None or value[0] != 0:
            return value
        _, schema = writer
        record = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, self._moved(record))
        return value[:5] + out.getvalue()

    def _moved(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._moved(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._moved(item) for item in value]
        if isinstance(value, str):
            return self._text(value)
        return self._millis(value) if type(value) is int else value

    def _millis(self, value: int) -> int:
        near = abs(value - self.content["made_at_ms"]) < _NEAR_MS
        return value + self.shift_s * 1000 if near else value

    def _text(self, text: str) -> str:
        by = timedelta(seconds=self.shift_s)
        text = _MILLIS.sub(lambda found: str(self._millis(int(found[0]))), text)
        return _DATE.sub(
            lambda found: (datetime.strptime(found[0], _DATE_FORM) + by).strftime(_DATE_FORM), text
        )


def read_fixture() -> Fixture:
    """The fixture as if its system had been killed just now."""
    content = json.loads(gzip.decompress(FIXTURE.read_bytes()))
    now_ms = time.time_ns() // 1_000_000
    return Fixture(content, (now_ms - content["made_at_ms"]) // 1000)


async def load(fixture: Fixture, bootstrap: str, dsn: str) -> None:
    """Load everything into a broker and into an empty database."""
    await _load_tables(fixture, dsn)
    await _make_topics(fixture, bootstrap)
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True
    ) as producer:
        sent = [
            await producer.send(
                record.topic,
                record.value,
                key=record.key,
                partition=record.partition,
                timestamp_ms=record.timestamp_ms,
                headers=list(record.headers),
            )
            for record in fixture.records
        ]
        placed = [(await one).offset for one in sent]
    assert placed == [record.offset for record in fixture.records]
    await _commit(fixture, bootstrap)


async def _make_topics(fixture: Fixture, bootstrap: str) -> None:
    """Create the topics as that version made them; those of a former run are deleted."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        await client.delete_topics([name for name, *_ in fixture.topics])
        wanted = [
            NewTopic(name, num_partitions=partitions, replication_factor=1, topic_configs=config)
            for name, partitions, config in fixture.topics
        ]
        answer = await client.create_topics(wanted)
        codes = {code for _, code, *_ in answer.topic_errors}
        assert codes == {0}, codes
    finally:
        await client.close()


async def _commit(fixture: Fixture, bootstrap: str) -> None:
    groups: dict[str, dict[TopicPartition, int]] = defaultdict(dict)
    for group, topic, partition, offset in fixture.content["committed"]:
        groups[PREFIX + group][TopicPartition(topic, partition)] = offset
    for group, offsets in groups.items():
        async with AIOKafkaConsumer(
            bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
        ) as consumer:
            consumer.assign(list(offsets))
            await consumer.commit(offsets)


async def _load_tables(fixture: Fixture, dsn: str) -> None:
    await migrate_up(dsn, fixture.migrations)
    connection = await asyncpg.connect(dsn, server_settings={"timezone": "UTC"})
    try:
        now = datetime.now(UTC)
        for month in (now - timedelta(days=4), now, now + timedelta(days=4)):
            await connection.execute("SELECT ai_orchestrator.ensure_month($1)", month.date())
        for table, rows in fixture.tables().items():
            await _load_rows(connection, table, rows)
    finally:
        await connection.close()


async def _load_rows(connection: Any, table: str, rows: list[Any]) -> None:
    columns = await connection.fetch(
        "SELECT column_name, is_identity FROM information_schema.columns"
        " WHERE table_schema = 'ai_orchestrator' AND table_name = $1 AND is_generated = 'NEVER'",
        table,
    )
    names = ", ".join(name for name, _ in columns)
    await connection.execute(
        f"INSERT INTO ai_orchestrator.{table} ({names}) SELECT {names} FROM"
        f" jsonb_populate_recordset(NULL::ai_orchestrator.{table}, $1::jsonb)"
        " ON CONFLICT DO NOTHING",
        json.dumps(rows),
    )
    for name, is_identity in columns:
        if is_identity == "YES" and rows:
            await connection.execute(
                f"SELECT setval(pg_get_serial_sequence('ai_orchestrator.{table}', $1), $2)",
                name,
                max(row[name] for row in rows),
            )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
