"""What an account with the right to write task-events can forge, and what no reader believes."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from orchestrator.settings import load_settings
from schemas.codec import encode
from schemas.records import EventKind, Millis, TaskEvent, TaskId, TaskStatus
from schemas.topics import Topics
from tests.commands import run_command

OWNER = {"owner": "router-1", "owner_epoch": 7}
LATER = {"owner": "forger", "owner_epoch": 8}


def an_event(kind: EventKind, reason: str, **fields: Any) -> TaskEvent:
    return TaskEvent(
        event_id=uuid.uuid4().hex,
        task_id=TaskId("task_1"),
        tenant_id="acme",
        kind=kind,
        status=TaskStatus.RUNNING,
        occurred_at=Millis(1_790_000_000_000),
        reason=reason,
        **fields,
    )


def marker(reason: str, **fields: Any) -> TaskEvent:
    return an_event(EventKind.OWNERSHIP_TAKEN, reason, **fields)


LOG = [
    (marker("the owner", **OWNER), True),
    (an_event(EventKind.STARTED, "by the owner", **OWNER), True),
    (an_event(EventKind.FAILED, "an older epoch", owner="router-1", owner_epoch=6), False),
    (an_event(EventKind.FAILED, "an invented owner", owner="forger", owner_epoch=7), False),
    (marker("an epoch in use", owner="forger", owner_epoch=7), False),
    (marker("the epoch after the next one", owner="forger", owner_epoch=9), False),
    # From here on the forger has read the log, and knows what its readers expect.
    (an_event(EventKind.COMPLETED, "forged in the owner's name", **OWNER), True),
    (marker("forged with the next epoch", **LATER), True),
    (an_event(EventKind.CANCELLED, "forged by the new owner", **LATER), True),
    (an_event(EventKind.COMPLETED, "by the true owner, too late", **OWNER), False),
    (marker("the true owner again", owner="router-1b", owner_epoch=9), True),
    (an_event(EventKind.FAILED, "forged by a former owner", **LATER), False),
]
"""Events in the order of the log, and whether readers believe them."""


@pytest.mark.asyncio(loop_scope="session")
async def test_what_a_writer_of_the_log_can_forge(kafka_bootstrap: str) -> None:
    variables = {
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_TOPICS_PREFIX": f"forged-{uuid.uuid4().hex[:8]}.",
        "ORCH_TOPICS_PARTITIONS": "1",
    }
    applied = await asyncio.to_thread(run_command, ("topics", "apply"), variables)
    assert applied.status == 0, applied.err
    topic = Topics(load_settings(variables).topics).task_events
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        for event, _ in LOG:
            await producer.send_and_wait(topic, encode(event), key=b"task_1", partition=0)
    tail = ("tail", "task-events", "--from-start", "--until-end", "--raw")
    printed = await asyncio.to_thread(run_command, tail, variables)
    seen = [(line["value"]["reason"], "ignored" not in line) for line in printed.documents]

    assert seen == [(event.reason, believed) for event, believed in LOG]
