"""Count calls of services from step-results: every attempt once, whatever was delivered twice.

A worker that died after a call reports again under the same ``command_id``, and a slow call
is reported as started first. Of each attempt the first result that ends it counts.
"""

import asyncio
import io
import json
from collections import Counter
from pathlib import Path

import fastavro
from aiokafka import AIOKafkaConsumer
from running import variable

TOPIC = variable("ORCH_TOPICS_PREFIX", "orchestrator.") + "step-results.v1"
AVRO = Path(__file__).resolve().parents[1] / "schemas" / "avro"
SCHEMA = fastavro.schema.load_schema(AVRO / "StepResult.avsc")


async def main() -> None:
    """Print one JSON line for each step: attempts by outcome, and duplicates."""
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=variable("ORCH_KAFKA_BOOTSTRAP"),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    seen: set[str] = set()
    counted: dict[str, Counter[str]] = {}
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    count(record.value, seen, counted)
    finally:
        await consumer.stop()
    for step, outcomes in sorted(counted.items()):
        print(json.dumps({"step": step, **outcomes}))


def count(value: bytes, seen: set[str], counted: dict[str, Counter[str]]) -> None:
    """Count one record."""
    try:
        result = fastavro.schemaless_reader(io.BytesIO(value[5:]), SCHEMA)
    except Exception:
        return  # it is in the dead-letter topic
    if result["kind"] == "started":
        return
    duplicate = result["command_id"] in seen
    seen.add(result["command_id"])
    outcome = "duplicates" if duplicate else result["kind"]
    counted.setdefault(result["step"], Counter())[outcome] += 1


asyncio.run(main())
