"""What our own choices cost, each as a ratio to its plain alternative: codec, publisher."""

import asyncio
import io
import re
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import fastavro
import msgspec
from aiokafka import AIOKafkaProducer

from benchmarks.harness.machine import print_machine
from orchestrator.local.embedded.kafka import EmbeddedKafka
from schemas.codec import decode, encode
from schemas.records import DispatchedStep, EventKind, Json, TaskEvent, TaskId, TaskStatus
from schemas.topics import Topic
from streams.kafka.admin import Admin
from streams.kafka.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings

RECORDS = 20_000
ROUNDS = 5
TOPIC = "bench"


def an_event() -> TaskEvent:
    return TaskEvent(
        event_id="task_0/2",
        task_id=TaskId("task_0"),
        tenant_id="acme",
        kind=EventKind.STEP_SUCCEEDED,
        sequence=2,
        status=TaskStatus.RUNNING,
        phase="queued",
        occurred_at=1_700_000_000_000,  # type: ignore[arg-type]
        owner="an-owner",
        owner_epoch=3,
        cause_topic="orchestrator.step-results.v1",
        cause_partition=1,
        cause_offset=17,
        dispatched=[DispatchedStep(command_id="c", input=Json("x" * 256))],  # type: ignore[arg-type]
    )


def measure(work: Callable[[], Any]) -> float:
    """Microseconds of one call, median of the rounds."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(2_000):
            work()
        rounds.append((time.perf_counter() - began) / 2_000 * 1e6)
    return statistics.median(rounds)


def bench_codec() -> None:
    event = an_event()
    value, text = encode(event), msgspec.json.encode(event)
    schema = _fastavro_schema()
    encoders: list[tuple[str, Callable[[], Any]]] = [
        ("encode, ours", lambda: encode(event)),
        ("encode, fastavro", lambda: _encode_by_fastavro(schema, event)),
        ("encode, JSON by msgspec", lambda: msgspec.json.encode(event)),
    ]
    decoders: list[tuple[str, Callable[[], Any]]] = [
        ("decode, ours", lambda: decode(value, TaskEvent)),
        ("decode, fastavro", lambda: _decode_by_fastavro(schema, value[5:])),
        ("decode, JSON by msgspec", lambda: msgspec.json.decode(text, type=TaskEvent)),
    ]
    print(f"\nTaskEvent: {len(value)} bytes in Avro, {len(text)} in JSON")
    for rows in (encoders, decoders):
        measured = [(name, measure(work)) for name, work in rows]
        base = measured[1][1]
        for name, micros in measured:
            print(f"  {name:26} {micros:8.1f} us   {micros / base:5.2f} x fastavro")


def _fastavro_schema() -> Any:
    """With plain longs for times, so that both sides do the same work."""
    text = Path("schemas/avro/TaskEvent.avsc").read_text("utf-8")
    logical = re.compile(r',\s*"logicalType": "timestamp-millis"')
    return fastavro.parse_schema(msgspec.json.decode(logical.sub("", text)))


def _encode_by_fastavro(schema: Any, event: TaskEvent) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, msgspec.to_builtins(event))
    return out.getvalue()


def _decode_by_fastavro(schema: Any, body: bytes) -> TaskEvent:
    fields = fastavro.schemaless_reader(io.BytesIO(body), schema, None)
    return msgspec.convert(fields, TaskEvent)


async def bench_publisher(bootstrap: str) -> None:
    kafka = KafkaSettings(bootstrap=bootstrap)
    async with Admin(kafka) as admin:
        topic = Topic(
            name=TOPIC,
            record=None,
            written_by="",
            read_by="",
            partitions=4,
            replication_factor=1,
            max_bytes=1_000_000,
            retention_ms=3_600_000,
        )
        await admin.apply([topic])
    publisher = Publisher(kafka, client_id="bench")
    await publisher.open()
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.servers, acks="all", enable_idempotence=True
    )
    await producer.start()
    value = encode(an_event())
    records = [
        Outgoing(topic=TOPIC, partition=n % 4, key=b"task_0", value=value) for n in range(RECORDS)
    ]

    async def plain() -> None:
        sent = [
            await producer.send(TOPIC, r.value, key=r.key, partition=r.partition) for r in records
        ]
        await asyncio.gather(*sent)

    async def ours() -> None:
        await publisher.publish(records)

    rates: dict[str, list[float]] = {"aiokafka send": [], "Publisher.publish": []}
    ways: list[tuple[str, Callable[[], Awaitable[None]]]] = [
        ("aiokafka send", plain),
        ("Publisher.publish", ours),
    ]
    for _ in range(ROUNDS):
        for name, way in ways:
            began = time.perf_counter()
            await way()
            rates[name].append(RECORDS / (time.perf_counter() - began))
    base = statistics.median(rates["aiokafka send"])
    print(f"\npublish {RECORDS} records of {len(value)} bytes, acks=all, idempotent")
    for name, found in rates.items():
        rate = statistics.median(found)
        print(
            f"  {name:26} {rate:8.0f}/s   {rate / base:5.2f} x send"
            f"   (min {min(found):.0f}, max {max(found):.0f})"
        )
    await publisher.close()
    await producer.stop()


async def main() -> None:
    print_machine("aiokafka", "fastavro", "msgspec")
    bench_codec()
    with tempfile.TemporaryDirectory() as folder:
        kafka = EmbeddedKafka(Path(folder))
        try:
            await bench_publisher(await kafka.start())
        finally:
            await kafka.kill()


if __name__ == "__main__":
    asyncio.run(main())
