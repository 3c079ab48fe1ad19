"""Reads the evidence: committed offsets, then Postgres, then all topics to their ends."""

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tests.checker.evidence import Evidence, Row, Tables
from tests.checker.wire import Kept

_SILENCE_MAX = 60
"""Polls of half a second without a record: the broker is away."""


async def read_evidence(
    bootstrap: str, dsn: str | None, *, prefix: str = "orchestrator.", log_only: bool = False
) -> Evidence:
    """Read everything of the system with this prefix.

    Args:
        bootstrap: of Kafka.
        dsn: of the projection; None leaves it out.
        prefix: of its topics and groups.
        log_only: of Kafka read ``task-events`` alone: much faster, and enough for histories.
    """
    committed = {} if log_only else await read_committed(bootstrap, prefix)
    tables = None if dsn is None else await read_tables(dsn)
    counts = await _partition_counts(bootstrap, prefix)
    if log_only:
        log = f"{prefix}task-events.v1"
        counts = {log: counts[log]}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        auto_offset_reset="earliest",
        # What was aborted was never said.
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        places = [TopicPartition(t, p) for t, count in counts.items() for p in range(count)]
        # Makes all topics known at once; asked for one by one, each costs a tenth of a second.
        consumer.assign(places)
        starts = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        records = await _read(consumer, ends)
    finally:
        await consumer.stop()
    return Evidence(
        prefix=prefix,
        partitions=counts[f"{prefix}task-events.v1"],
        records=records,
        starts={(tp.topic, tp.partition): offset for tp, offset in starts.items()},
        ends={(tp.topic, tp.partition): offset for tp, offset in ends.items()},
        committed=committed,
        tables=tables,
        now_ms=time.time_ns() // 1_000_000,
    )


async def _partition_counts(bootstrap: str, prefix: str) -> dict[str, int]:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        names = await client.list_topics()
        ours = [name for name in names if name.startswith((prefix, f"dlq.{prefix}"))]
        described = await client.describe_topics(ours)
        return {entry["topic"]: len(entry["partitions"]) for entry in described}
    finally:
        await client.close()


async def _read(
    consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]
) -> dict[tuple[str, int], Sequence[Kept]]:
    records: dict[tuple[str, int], list[Kept]] = defaultdict(list)
    left = {tp for tp, end in ends.items() if end > 0}
    consumer.assign(list(left))
    silent = 0
    while left:
        if silent > _SILENCE_MAX:
            raise TimeoutError(f"{len(left)} partitions could not be read to their ends")
        fetched = await consumer.getmany(*left, timeout_ms=500)
        silent = 0 if fetched else silent + 1
        for tp, found in fetched.items():
            records[tp.topic, tp.partition] += [_kept(r) for r in found if r.offset < ends[tp]]
        left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
    return dict(records)


def _kept(record: Any) -> Kept:
    place = (record.topic, record.partition, record.offset, record.timestamp)
    return Kept(*place, record.key, record.value, tuple(record.headers))


async def read_committed(bootstrap: str, prefix: str) -> dict[tuple[str, str, int], int]:
    """The committed offsets of all groups of a system, by group without its prefix."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        groups = [group for group, _ in await client.list_consumer_groups()]
        return {
            (group.removeprefix(prefix), tp.topic, tp.partition): stored.offset
            for group in groups
            if group.startswith(prefix)
            for tp, stored in (await client.list_consumer_group_offsets(group)).items()
            if stored.offset >= 0
        }
    finally:
        await client.close()


async def read_members(bootstrap: str, group: str) -> int:
    """How many members a group has; 0 while it rebalances."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        [answer] = await client.describe_consumer_groups([group])
        [(_, _, state, _, _, members, *_)] = answer.groups
        return len(members) if state == "Stable" else 0
    finally:
        await client.close()


async def read_ends(bootstrap: str, topics: Mapping[str, int]) -> dict[tuple[str, int], int]:
    """The next offset of each partition of topics, given with their partition counts."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
    await consumer.start()
    try:
        places = [TopicPartition(t, p) for t, count in topics.items() for p in range(count)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
    finally:
        await consumer.stop()
    return {(tp.topic, tp.partition): offset for tp, offset in ends.items()}


async def read_positions(dsn: str) -> dict[int, int]:
    """By partition of the log, the next offset that the sink will write."""
    connection = await asyncpg.connect(dsn)
    try:
        query = "SELECT log_partition, next_offset FROM ai_orchestrator.sink_offsets"
        return {row["log_partition"]: row["next_offset"] for row in await connection.fetch(query)}
    finally:
        await connection.close()


async def read_tables(dsn: str) -> Tables:
    """The projection, in one transaction."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return Tables(
                **{
                    name: [
                        _row(row)
                        for row in await connection.fetch(f"SELECT * FROM ai_orchestrator.{name}")
                    ]
                    for name in ("tasks", "task_steps", "task_execution_logs", "sink_offsets")
                }
            )
    finally:
        await connection.close()


_DOCUMENTS = ("input", "output", "steps", "metadata", "event_data", "substeps")


def _row(row: asyncpg.Record) -> Row:
    return {
        name: json.loads(value)
        if name in _DOCUMENTS and value is not None
        else round(value.timestamp() * 1000)
        if isinstance(value, datetime)
        else value
        for name, value in row.items()
    }
