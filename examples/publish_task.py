"""Publish a RAG task from your own service: aiokafka, fastavro and one schema file."""

import asyncio
import io
import json
import os
import struct
import sys
import time
import uuid

import fastavro
from aiokafka import AIOKafkaProducer

SCHEMA_ID = 101  # of TaskCreated, version 1: see schemas/avro/lock.json
SCHEMA = fastavro.schema.load_schema("schemas/avro/TaskCreated.avsc")


async def publish(question: str) -> str:
    """Create a task; return its id."""
    task_id = f"task_{uuid.uuid4()}"
    task = {
        "task_id": task_id,
        "tenant_id": "acme",
        "type": "rag",
        "input": json.dumps({"query": question}),
        "created_at": int(time.time() * 1000),
    }
    value = io.BytesIO()
    value.write(struct.pack(">bI", 0, SCHEMA_ID))
    fastavro.schemaless_writer(value, SCHEMA, task)
    async with AIOKafkaProducer(
        bootstrap_servers=os.environ["ORCH_KAFKA_BOOTSTRAP"], acks="all", enable_idempotence=True
    ) as producer:
        await producer.send_and_wait(
            "orchestrator.task-created.v1", value.getvalue(), key=task_id.encode()
        )
    return task_id


print(asyncio.run(publish(" ".join(sys.argv[1:]) or "What is a dead letter?")))
