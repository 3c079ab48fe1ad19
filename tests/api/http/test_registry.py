"""Stock Confluent clients, with only our HTTP port as their registry."""

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.registry import current_text
from schemas.topics import Topics
from tests.api.calling import ACME, WAIT_S, Served

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_stock_serializer_publishes_a_task_and_a_stock_deserializer_reads_its_events(
    served: Served,
) -> None:
    topics = Topics(served.running.system.settings.topics)
    task_id = f"task_{uuid.uuid4()}"
    task = {
        "task_id": task_id,
        "tenant_id": "acme",
        "type": "rag",
        "input": json.dumps({"query": "What is a dead letter?"}),
        "created_at": datetime.now(UTC),
    }
    await asyncio.to_thread(publish, served, topics.task_created, task_id, task)
    done = await served.one.stub.WaitTask(
        pb.WaitTaskRequest(task_id=task_id), metadata=ACME, timeout=WAIT_S
    )
    events = await asyncio.to_thread(read_events, served, topics.task_events, task_id)

    assert done.task.status == pb.TASK_STATUS_COMPLETED
    assert (events[0]["kind"], events[-1]["kind"]) == ("created", "completed")


async def test_only_published_schemas_can_be_registered(served: Served) -> None:
    topic = Topics(served.running.system.settings.topics).task_created
    registry = SchemaRegistryClient({"url": served.one.url})
    subject = f"{topic}-value"
    known = Schema(current_text("TaskCreated"), "AVRO")
    foreign = Schema('{"type": "record", "name": "Foreign", "fields": []}', "AVRO")

    schema_id = await asyncio.to_thread(registry.register_schema, subject, known)
    found = await asyncio.to_thread(registry.lookup_schema, subject, known)
    latest = await asyncio.to_thread(registry.get_latest_version, subject)
    subjects = await asyncio.to_thread(registry.get_subjects)
    compatibility = await asyncio.to_thread(registry.get_compatibility)
    with pytest.raises(SchemaRegistryError) as refused:
        await asyncio.to_thread(registry.register_schema, subject, foreign)
    with pytest.raises(SchemaRegistryError) as unknown:
        await asyncio.to_thread(registry.get_latest_version, "nothing-value")

    assert schema_id == found.schema_id == latest.schema_id == 101
    assert subject in subjects
    assert compatibility == "FULL_TRANSITIVE"
    assert (refused.value.http_status_code, refused.value.error_code) == (422, 42205)
    assert (unknown.value.http_status_code, unknown.value.error_code) == (404, 40401)


def publish(served: Served, topic: str, key: str, task: dict[str, Any]) -> None:
    registry = SchemaRegistryClient({"url": served.one.url})
    serialize = AvroSerializer(registry, current_text("TaskCreated"))
    producer = Producer(
        {"bootstrap.servers": served.running.bootstrap, "partitioner": "murmur2_random"}
    )
    value = serialize(task, SerializationContext(topic, MessageField.VALUE))
    producer.produce(topic, key=key.encode(), value=value)
    assert producer.flush(WAIT_S) == 0


def read_events(served: Served, topic: str, task_id: str) -> list[dict[str, Any]]:
    deserialize = AvroDeserializer(SchemaRegistryClient({"url": served.two.url}))
    consumer = Consumer(
        {
            "bootstrap.servers": served.running.bootstrap,
            "group.id": str(uuid.uuid4()),
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    events: list[dict[str, Any]] = []
    until = time.monotonic() + WAIT_S
    try:
        while time.monotonic() < until and (not events or events[-1]["kind"] != "completed"):
            message = consumer.poll(0.5)
            if message is None or message.error() or message.key() != task_id.encode():
                continue
            context = SerializationContext(topic, MessageField.VALUE)
            events.append(deserialize(message.value(), context))
    finally:
        consumer.close()
    return events
