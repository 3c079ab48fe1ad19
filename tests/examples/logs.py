"""A system's topics with tasks in them, for the examples to read."""

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from typing import Any

import msgspec

from schemas.records import Lane, Millis, ResultKind, StepName, StepResult, TaskEvent
from schemas.topics import Topics, TopicsSettings, dlq
from streams.envelopes import event_record, result_record
from streams.kafka.admin import Admin
from streams.kafka.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings
from tests.orchestrator.cli.test_tail import a_marker, an_event
from tests.sinks.building import AWAY, ALog
from tests.streams.building import a_topic

STEP = StepName("retrieve")


def the_tasks(task_count: int = 4) -> list[TaskEvent]:
    """Completed RAG tasks, a few minutes old; the first needed a second attempt."""
    log = ALog(now=time.time_ns() // 1_000_000 - 600_000)
    for number in range(task_count):
        log.create(f"t{number}")
    log.report(ResultKind.FAILED, "t0", AWAY)
    log.report(ResultKind.FAILED, "t0", AWAY)
    for number in range(task_count):
        if log.states[f"t{number}"].outstanding is not None:  # type: ignore[index]
            log.run_to_the_end(f"t{number}")
    return [logged.event for logged in log.events]


def with_a_zombie(events: list[TaskEvent]) -> list[TaskEvent]:
    """The log of two owners, of whom the first wrote once more than it should."""
    middle = len(events) // 2
    return [
        a_marker(1, "a"),
        *(an_event(event, 1, "a") for event in events[:middle]),
        a_marker(2, "b"),
        an_event(events[middle], 1, "a"),
        *(an_event(event, 2, "b") for event in events[middle:]),
    ]


def a_result(command_id: str, kind: ResultKind) -> StepResult:
    return StepResult(
        command_id=command_id,  # type: ignore[arg-type]
        task_id="t",  # type: ignore[arg-type]
        tenant_id="acme",
        step=STEP,
        kind=kind,
        started_at=Millis(1),
    )


async def fill(bootstrap: str) -> tuple[dict[str, str], list[TaskEvent]]:
    """Fill topics of a new prefix; return the environment for readers, and the true events."""
    kafka, topics = KafkaSettings(bootstrap=bootstrap), Topics(TopicsSettings(prefix=_prefix()))
    names = [
        topics.task_events,
        topics.task_created,
        topics.step_results,
        topics.step(STEP, Lane.LOW),
    ]
    async with Admin(kafka) as admin:
        await admin.apply([a_topic(n, partitions=2) for n in [*names, *map(dlq, names)]])
    events = the_tasks()
    publisher = Publisher(kafka, client_id="test")
    await publisher.open()
    await publisher.publish([event_record(topics, 1, e, {}) for e in with_a_zombie(events)])
    garbage = Outgoing(topic=topics.task_events, partition=1, key=b"x", value=b"\x00garbage")
    await publisher.publish([garbage])
    results = [
        a_result("t/1/retrieve/1", ResultKind.STARTED),
        a_result("t/1/retrieve/1", ResultKind.FAILED),
        a_result("t/1/retrieve/2", ResultKind.SUCCEEDED),
        a_result("t/1/retrieve/2", ResultKind.SUCCEEDED),
    ]
    await publisher.publish([result_record(topics, 0, result, {}) for result in results])
    letters = [
        Outgoing(
            topic=dlq(topics.task_created),
            partition=0,
            key=b"k",
            value=b"v",
            headers=[("__dlq.errors.code", code.encode())],
        )
        for code in ("MAGIC_UNKNOWN", "TENANT_MISSING", "MAGIC_UNKNOWN")
    ]
    await publisher.publish(letters)
    await publisher.close()
    environment = {"ORCH_KAFKA_BOOTSTRAP": bootstrap, "ORCH_TOPICS_PREFIX": topics.settings.prefix}
    return environment, events


def filled(bootstrap: str) -> tuple[dict[str, str], list[TaskEvent]]:
    return asyncio.run(fill(bootstrap))


def run_example(name: str, environment: dict[str, str], *arguments: str) -> str:
    """Run an example as a reader of the documentation does; return what it prints."""
    ended = subprocess.run(
        [sys.executable, f"examples/{name}", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def told(events: list[TaskEvent]) -> list[tuple[str, int, str]]:
    """What readers print of events."""
    fields = [msgspec.to_builtins(event) for event in events]
    return [(event["task_id"], event["sequence"], event["kind"]) for event in fields]


def _prefix() -> str:
    return f"{uuid.uuid4()}."
