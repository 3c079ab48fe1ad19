"""Each bad record becomes a dead letter with its own code; the next good one is processed."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from schemas.codec import encode
from schemas.headers import header_text
from schemas.records import StepName, TaskCreated
from schemas.topics import Topics
from streams.kafka.partitioner import partition_of
from tests.e2e.driving import Running, a_rag_task

pytestmark = pytest.mark.asyncio(loop_scope="session")

Record = tuple[bytes | None, bytes | None]


def created(**changes: Any) -> Callable[[], Record]:
    """A well-formed record of a task that has one fault."""

    def build() -> Record:
        task = a_rag_task(**changes)
        return task.task_id.encode(), encode(task)

    return build


def wrong_key() -> Record:
    return b"another-key", encode(a_rag_task())


def no_key() -> Record:
    return None, encode(a_rag_task())


DEEP = '{"query": ' + "[" * 500 + "]" * 500 + "}"
BAD: dict[str, tuple[str, Callable[[], Record]]] = {
    "undecodable bytes": ("DECODE_FAILED", lambda: (b"k", b"\x00\x00\x00\x00\x65\xff\xff")),
    "bytes after the record": (
        "DECODE_FAILED",
        lambda: (b"k", encode(a_rag_task()) + b"more"),
    ),
    "a null value": ("DECODE_FAILED", lambda: (b"k", None)),
    "wrong magic": ("MAGIC_UNKNOWN", lambda: (b"k", b"\x07\x00\x00\x00\x65abc")),
    "no frame": ("MAGIC_UNKNOWN", lambda: (b"k", b"{}")),
    "unknown schema id": ("SCHEMA_UNKNOWN", lambda: (b"k", b"\x00\x00\x0f\x42\x3fabc")),
    "larger than a record": ("RECORD_TOO_LARGE", lambda: (b"k", b"\x00" * (1024 * 1024 + 1))),
    "unknown type": ("TASK_TYPE_UNKNOWN", created(type="poetry")),
    "priority above 10": ("PRIORITY_OUT_OF_RANGE", created(priority=11)),
    "priority below 0": ("PRIORITY_OUT_OF_RANGE", created(priority=-1)),
    "missing tenant": ("TENANT_MISSING", created(tenant_id="")),
    "invalid id": ("ID_INVALID", created(task_id="no spaces allowed")),
    "an id that is too long": ("ID_INVALID", created(task_id="x" * 65)),
    "oversize input": ("INPUT_TOO_LARGE", created(input=json.dumps({"query": "x" * 300_000}))),
    "input that is no JSON": ("JSON_INVALID", created(input="{")),
    "input that is no object": ("JSON_INVALID", created(input="[1]")),
    "input nested too deeply": ("JSON_TOO_DEEP", created(input=DEEP)),
    "input without a query": ("INPUT_INCOMPLETE", created(input="{}")),
    "NUL in the input": ("TEXT_NOT_STORABLE", created(input='{"query": "a\\u0000b"}')),
    "a lone surrogate": ("TEXT_NOT_STORABLE", created(input='{"query": "\\ud800"}')),
    "NUL in the metadata": ("TEXT_NOT_STORABLE", created(metadata='{"a\\u0000": 1}')),
    "NaN": ("NUMBER_NOT_STORABLE", created(input='{"query": "x", "n": NaN}')),
    "infinity": ("NUMBER_NOT_STORABLE", created(input='{"query": "x", "n": 1e999}')),
    "a key that differs from the task id": ("KEY_MISMATCH", wrong_key),
    "no key": ("KEY_MISMATCH", no_key),
    "unknown pipeline version": ("PIPELINE_VERSION_UNKNOWN", created(pipeline_version=99)),
    "a timeout of nothing": ("TIMEOUT_OUT_OF_RANGE", created(timeout_ms=0)),
    "an idempotency key of another id": ("ID_KEY_MISMATCH", created(idempotency_key="k-1")),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_task_is_dead_lettered_and_the_next_good_one_is_processed(
    running: Running, name: str
) -> None:
    code, build = BAD[name]
    key, value = build()
    topic, partitions = running.topics.task_created, running.system.settings.topics.partitions
    partition = partition_of(key or b"", partitions)
    good = next(
        task
        for task in iter(a_rag_task, None)
        if partition_of(task.task_id.encode(), partitions) == partition
    )
    [position, _] = await running.publish(
        topic, [(key, value), (good.task_id.encode(), encode(good))], partition=partition
    )

    letter = await running.dead_letter(topic, position)
    rows = await running.ended([good.task_id])
    assert header_text(letter.headers, "__dlq.errors.code") == code
    assert (letter.key, letter.value) == (key, value)
    assert rows[good.task_id]["status"] == "completed"


def a_step_command_topic(topics: Topics) -> str:
    return topics.lanes(StepName("generate"))[1]


@pytest.mark.parametrize(
    "topic_of",
    [
        lambda topics: topics.task_created,
        lambda topics: topics.task_commands,
        lambda topics: topics.step_results,
        lambda topics: topics.task_events,
        a_step_command_topic,
    ],
    ids=["task-created", "task-commands", "step-results", "task-events", "steps"],
)
async def test_bytes_that_nobody_can_read_are_dead_lettered_from_every_consumed_topic(
    running: Running, topic_of: Callable[[Topics], str]
) -> None:
    topic, value = topic_of(running.topics), b"\x00\x00\x00\x00\x65 garbage"
    headers = [("repeated", b"1"), ("repeated", b"2"), ("binary", b"\xff\x00")]
    [position] = await running.publish(topic, [(b"\xff", value)], partition=1, headers=headers)

    letter = await running.dead_letter(topic, position)
    assert (letter.key, letter.value, letter.partition) == (b"\xff", value, 1)
    assert list(letter.headers[:3]) == headers
    assert header_text(letter.headers, "__dlq.errors.stage") == "decode"


async def test_a_record_of_another_topic_is_refused(running: Running) -> None:
    task: TaskCreated = a_rag_task()
    topic = a_step_command_topic(running.topics)
    [position] = await running.publish(topic, [(task.task_id.encode(), encode(task))])

    letter = await running.dead_letter(topic, position)
    assert header_text(letter.headers, "__dlq.errors.code") == "SCHEMA_UNKNOWN"
