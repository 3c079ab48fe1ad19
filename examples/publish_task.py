"""Publish a RAG task from your own service: aiokafka, fastavro and one schema file."""

import asyncio
import io
import json
import struct
import sys
import time
import uuid
from pathlib import Path

import fastavro
from aiokafka import AIOKafkaProducer
from running import variable  # an ORCH_* variable, or the system of `make run`

SCHEMA_ID = 101  # of TaskCreated, version 1: see schemas/avro/lock.json
AVRO = Path(__file__).resolve().parents[1] / "schemas" / "avro"
SCHEMA = fastavro.schema.load_schema(AVRO / "TaskCreated.avsc")


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
        bootstrap_servers=variable("ORCH_KAFKA_BOOTSTRAP"), acks="all", enable_idempotence=True
    ) as producer:
        await producer.send_and_wait(
            "orchestrator.task-created.v1", value.getvalue(), key=task_id.encode()
        )
    return task_id


print(asyncio.run(publish(" ".join(sys.argv[1:]) or "What is a dead letter?")))
