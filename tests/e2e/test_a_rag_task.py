"""The main road: a task published to Kafka becomes a finished row in Postgres."""

import asyncio
import json
import os
import sys

import pytest

from orchestrator.local.dev.upstream import traced_upstream
from schemas.codec import encode
from schemas.headers import header_text
from streams.kafka.log_reader import LogReader
from streams.kafka.partitioner import partition_of
from tests.e2e.driving import Running, a_rag_task

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_rag_task_published_to_kafka_becomes_a_finished_row(running: Running) -> None:
    task = a_rag_task(priority=9, conversation_id="c-1", user_id="u-1", metadata='{"a": [1]}')
    await running.create([task])

    row = (await running.ended([task.task_id]))[task.task_id]
    output = json.loads(row["output"])
    assert (row["status"], row["phase"], row["priority"]) == ("completed", "completed", 9)
    assert (row["conversation_id"], row["user_id"]) == ("c-1", "u-1")
    assert json.loads(row["metadata"]) == {"a": [1]}
    assert "dead letter" in output["answer"].lower()
    assert [step["name"] for step in json.loads(row["steps"])] == ["retrieve", "generate"]
    assert row["duration_ms"] >= 0
    await running.check([task.task_id])


async def test_tokens_and_cost_of_a_task_are_in_its_row(running: Running) -> None:
    task = a_rag_task()
    await running.create([task])

    row = (await running.ended([task.task_id]))[task.task_id]
    assert row["input_tokens"] > 0
    assert row["output_tokens"] > 0
    assert row["cost_micros"] > 0


async def test_a_task_that_is_published_twice_is_done_once(running: Running) -> None:
    task = a_rag_task()
    await running.create([task, task])
    await running.ended([task.task_id])
    last = a_rag_task(task_id=task.task_id)
    await running.create([last])
    marker = a_rag_task()
    await running.create([marker])
    await running.ended([marker.task_id])

    assert set(running.calls_by_key([task.task_id]).values()) == {1}
    await running.check([task.task_id])


async def test_the_trace_of_an_instrumented_upstream_service_reaches_the_services(
    running: Running,
) -> None:
    task = a_rag_task()
    with traced_upstream():
        await running.create([task])
    await running.ended([task.task_id])

    partition = partition_of(task.task_id.encode(), running.system.settings.topics.partitions)
    async with LogReader(running.system.settings.kafka, client_id="test") as reader:
        topic = running.topics.task_created
        _, end = await reader.bounds(topic, partition)
        batches = [batch async for batch in reader.read(topic, partition, 0, end)]
    [sent] = [r for batch in batches for r in batch if r.key == task.task_id.encode()]
    began = header_text(sent.headers, "traceparent")
    assert began is not None
    traces = [c["traceparent"] for c in running.calls() if c["task_id"] == task.task_id]
    assert [trace.split("-")[1] for trace in traces] == [began.split("-")[1]] * 2


async def test_a_trace_header_that_is_no_text_stops_nobody(running: Running) -> None:
    task = a_rag_task()
    record = (task.task_id.encode(), encode(task))
    headers = [("traceparent", b"\xff\xfe")]
    await running.publish(running.topics.task_created, [record], headers=headers)

    row = (await running.ended([task.task_id]))[task.task_id]
    assert row["status"] == "completed"


async def test_a_record_in_another_partition_than_its_key_s_is_forwarded(
    running: Running,
) -> None:
    tasks = [a_rag_task() for _ in range(4)]
    count = running.system.settings.topics.partitions
    for task in tasks:
        key = task.task_id.encode()
        other = (partition_of(key, count) + 1) % count
        await running.publish(running.topics.task_created, [(key, encode(task))], partition=other)

    rows = await running.ended([task.task_id for task in tasks])
    assert {row["status"] for row in rows.values()} == {"completed"}


async def test_the_readme_s_example_publishes_a_task_that_completes(running: Running) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "examples/publish_task.py",
        "What is a dead letter?",
        env={**os.environ, "ORCH_KAFKA_BOOTSTRAP": running.bootstrap},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    task_id = output.decode().strip()

    row = (await running.ended([task_id]))[task_id]
    assert row["status"] == "completed"


async def test_tail_prints_decoded_records_as_json_lines(running: Running) -> None:
    task = a_rag_task()
    await running.create([task])
    await running.ended([task.task_id])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator", "tail", "steps.retrieve.normal"),
        *("--from-start", "--until-end"),
        env={**os.environ, **running.system.environment},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()

    records = [json.loads(line) for line in output.splitlines()]
    [command] = [r["value"] for r in records if r["key"] == task.task_id]
    assert (command["step"], command["attempt"]) == ("retrieve", 1)
    assert json.loads(command["input"])["query"] == "What is a dead letter?"
