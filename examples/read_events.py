"""Read what happened, from the log: aiokafka, fastavro and one schema file.

Prints one JSON line for each event that counts. ``read_events.py 3600``: of the last hour.
"""

import asyncio
import io
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import fastavro
from accepted import Owner, accept, prevail
from aiokafka import AIOKafkaConsumer, TopicPartition
from running import variable

BOOTSTRAP = variable("ORCH_KAFKA_BOOTSTRAP")
TOPIC = variable("ORCH_TOPICS_PREFIX", "orchestrator.") + "task-events.v1"
AVRO = Path(__file__).resolve().parents[1] / "schemas" / "avro"
SCHEMA = fastavro.schema.load_schema(AVRO / "TaskEvent.avsc")
LOOK_BACK = 500  # records before the span, to find the owner that holds at its beginning


async def accepted_events(since_ms: int = 0) -> AsyncIterator[dict[str, Any]]:
    """The events since a time that count, in order for each task; up to the present end."""
    consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=BOOTSTRAP, enable_auto_commit=False)
    await consumer.start()
    try:
        for number in sorted(consumer.partitions_for_topic(TOPIC)):
            async for event in _partition(consumer, TopicPartition(TOPIC, number), since_ms):
                yield event
    finally:
        await consumer.stop()


async def _partition(
    consumer: AIOKafkaConsumer, tp: TopicPartition, since_ms: int
) -> AsyncIterator[dict[str, Any]]:
    first = (await consumer.beginning_offsets([tp]))[tp]
    end = (await consumer.end_offsets([tp]))[tp]
    found = (await consumer.offsets_for_times({tp: since_ms}))[tp]
    start = found.offset if found else end
    for other in consumer.assignment():
        consumer.pause(other)
    consumer.resume(tp)
    consumer.seek(tp, max(first, start - LOOK_BACK))
    owner: Owner | None = None
    owners: dict[int, Owner] = {}
    while await consumer.position(tp) < end:
        for record in (await consumer.getmany(tp, timeout_ms=500)).get(tp, []):
            event = _decode(record.value)
            if event is None or record.offset >= end:
                continue  # what nobody can read is in the dead-letter topic
            if record.offset < start:
                owner = prevail(owner, event)
                owners[tp.partition] = owner
            elif accept(owners, tp.partition, event):
                yield event


def _decode(value: bytes) -> Any:
    try:
        return fastavro.schemaless_reader(io.BytesIO(value[5:]), SCHEMA)  # after byte 0 and the id
    except Exception:  # bytes of strangers fail in many ways
        return None


async def main() -> None:
    """Print the events."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    since_ms = int((time.time() - seconds) * 1000) if seconds else 0
    async for event in accepted_events(since_ms):
        kept = ("task_id", "sequence", "kind", "run", "status", "occurred_at")
        print(json.dumps({name: event[name] for name in kept}, default=str))


if __name__ == "__main__":
    try:
        asyncio.run(main())
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
