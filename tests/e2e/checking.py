"""An independent reading of the log: fastavro and SQL rows only, none of the product's rules.

Used after every disturbance: whatever was killed, each task has one gap-free history with at
most one end, and Postgres shows exactly what the log says.
"""

import io
import json
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fastavro
from aiokafka import AIOKafkaConsumer, TopicPartition

SCHEMA = fastavro.schema.load_schema(str(Path("schemas/avro/TaskEvent.avsc")))
TERMINAL = ("completed", "failed", "cancelled")
Event = dict[str, Any]


async def read_events(bootstrap: str, topic: str) -> list[Event]:
    """The accepted events of all partitions, in order within each partition."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
        ends = await consumer.end_offsets(partitions)
        raw: dict[int, list[bytes]] = defaultdict(list)
        while [tp for tp in partitions if await consumer.position(tp) < ends[tp]]:
            for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                raw[tp.partition] += [record.value for record in records]
    finally:
        await consumer.stop()
    return [event for values in raw.values() for event in _accepted(values)]


def _accepted(values: Sequence[bytes]) -> list[Event]:
    """The acceptance rule in its own words: markers count up by one, events need the last."""
    current: tuple[int, str] | None = None
    accepted = []
    for value in values:
        try:
            magic, _ = struct.unpack(">bI", value[:5])
            event: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), SCHEMA)
        except Exception:  # what does not decode is no event
            continue
        claim = (event["owner_epoch"], event["owner"])
        if event["kind"] == "ownership_taken":
            if current is None or claim[0] == current[0] + 1:
                current = claim
        elif claim == current and magic == 0:
            accepted.append(event)
    return accepted


async def fold_log(bootstrap: str, topic: str, rows: Mapping[str, Any], ids: Sequence[str]) -> None:
    """Check the histories of these tasks, and their rows against them."""
    histories: dict[str, list[Event]] = defaultdict(list)
    for event in await read_events(bootstrap, topic):
        histories[event["task_id"]].append(event)
    for task_id in ids:
        history = histories[task_id]
        _check_history(task_id, history)
        _check_row(rows[task_id], history)


def _check_history(task_id: str, history: Sequence[Event]) -> None:
    assert history, f"{task_id} is not in the log"
    assert [event["sequence"] for event in history] == list(range(1, len(history) + 1)), task_id
    ends = [event["run"] for event in history if event["kind"] in TERMINAL]
    assert len(ends) == len(set(ends)), f"{task_id} ended twice in one run"
    causes = [(e["cause_topic"], e["cause_offset"]) for e in history if e["cause_offset"] >= 0]
    assert len(causes) == len(set(causes)), f"{task_id}: one input has two events"


def _check_row(row: Mapping[str, Any], history: Sequence[Event]) -> None:
    last, first = history[-1], history[0]
    ended = [event for event in history if event["kind"] in TERMINAL]
    expected = {
        "status": last["status"],
        "phase": last["phase"],
        "sequence": last["sequence"],
        "run": last["run"],
        "tenant_id": first["tenant_id"],
        "type": first["task"]["type"],
        "priority": last["priority"],
    }
    assert {name: row[name] for name in expected} == expected, row["id"]
    assert row["created_at"] == first["occurred_at"]
    assert row["updated_at"] == last["occurred_at"]
    assert json.loads(row["input"]) == json.loads(first["task"]["input"])
    if ended:
        assert row["completed_at"] == ended[-1]["occurred_at"]
        output = ended[-1]["output"]
        stored = json.loads(row["output"]) if row["output"] is not None else None
        assert stored == (json.loads(output) if output is not None else None)
    done = {
        event["step"]["name"]: (event["step"]["attempt"], event["step"]["status"])
        for event in history
        if event["step"] is not None and event["kind"] not in ("started", "step_retry_scheduled")
    }
    shown = {s["name"]: (s["attempt"], s["status"]) for s in json.loads(row["steps"])}
    assert {name: shown[name] for name in done} == done, row["id"]
