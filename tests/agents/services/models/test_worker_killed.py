"""A worker that is killed while a model answers: the task ends once, and watchers see the break."""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from orchestrator.local.dev.fork import Fork
from schemas.codec import decode
from schemas.records import (
    EventKind,
    Json,
    Millis,
    Record,
    StepResult,
    StreamChunk,
    TaskCreated,
    TaskEvent,
    TaskId,
)
from streams.kafka.log_reader import LogReader
from tests.agents.services.models.fake_model import Exchange, a_model
from tests.agents.services.models.test_local_model import MODEL, address
from tests.e2e.one_role import OneRole

__all__ = ["address"]
T = TypeVar("T", bound=Record)
WAIT_S = 60.0
PIPELINE = """\
pipeline: story
version: 1
steps:
  - name: tell
    service: writer
    method: Chat
    timeout_s: 60
    input:
      messages:
        - {role: user, content: "{{text}}"}
      values:
        text: $.input.text
      temperature: 0
      max_tokens: 200
output: $.steps.tell
"""


class StoryTeller:
    """A router and the worker of the step, as processes of their own."""

    def __init__(self, bootstrap: str, folder: Path, model: str) -> None:
        pipelines = folder / "pipelines"
        pipelines.mkdir()
        (pipelines / "story.yaml").write_text(PIPELINE, "utf-8")
        shared = {
            "ORCH_TOPICS_PREFIX": f"killed-{os.urandom(4).hex()}.",
            "ORCH_PIPELINES_DIR": str(pipelines),
            "ORCH_SERVICES_EXTRA": f"writer={model}",
            "ORCH_METRICS_PORT": "0",
        }
        self.router = OneRole("router", bootstrap, folder, **shared)
        self.worker = OneRole("step.tell", bootstrap, folder, **shared)
        self.task = TaskCreated(
            task_id=TaskId(f"task_{uuid.uuid4()}"),
            tenant_id="acme",
            type="story",
            input=Json(json.dumps({"text": "Count from one to one thousand."})),
            created_at=Millis(time.time_ns() // 1_000_000),
        )

    @property
    def process(self) -> Fork:
        """The worker."""
        return self.worker.process

    async def read(self, topic: str, kind: type[T]) -> list[T]:
        """The records of the task in a topic."""
        async with LogReader(self.router.settings.kafka, client_id="test") as reader:
            first, end = await reader.bounds(topic, 0)
            batches = [batch async for batch in reader.read(topic, 0, first, end)]
        key = self.task.task_id.encode()
        return [decode(one.value, kind) for batch in batches for one in batch if one.key == key]

    async def until(self, topic: str, kind: type[T], holds: Callable[[list[T]], bool]) -> list[T]:
        """Wait until the records of the task are as wanted."""
        async with asyncio.timeout(WAIT_S):
            while not holds(found := await self.read(topic, kind)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return found


async def told_over_a_kill(
    bootstrap: str, folder: Path, model: str
) -> tuple[list[TaskEvent], list[StreamChunk], list[StepResult]]:
    """Kill the worker when the first words were shown, and start it again."""
    teller = StoryTeller(bootstrap, folder, model)
    topics = teller.router.topics
    await teller.router.make_topics()
    async with teller.router.running(), teller.worker.running():
        await teller.router.create([teller.task])
        await teller.until(topics.stream, StreamChunk, lambda chunks: len(chunks) > 0)
        teller.process.kill()
        await teller.process.wait(WAIT_S)
        assert all(event.kind is not EventKind.COMPLETED for event in await ended(teller))
        teller.process.start()
        await teller.until(
            topics.task_events,
            TaskEvent,
            lambda events: any(event.kind is EventKind.COMPLETED for event in events),
        )
        return (
            await ended(teller),
            await teller.read(topics.stream, StreamChunk),
            await teller.read(topics.step_results, StepResult),
        )


async def ended(teller: StoryTeller) -> list[TaskEvent]:
    return await teller.read(teller.router.topics.task_events, TaskEvent)


def check_the_break(
    events: list[TaskEvent], chunks: list[StreamChunk], results: list[StepResult]
) -> None:
    [completed] = [event for event in events if event.kind is EventKind.COMPLETED]
    [result] = [result for result in results if result.kind == "succeeded"]
    text = json.loads(completed.output or "")["text"]
    # The attempt is the same, and its answer begins again: with an index of 0.
    begins = [place for place, chunk in enumerate(chunks) if chunk.index == 0]
    assert len(begins) == 2
    assert {(chunk.step, chunk.run, chunk.attempt) for chunk in chunks} == {("tell", 1, 1)}
    for first, end in zip(begins, [begins[1], len(chunks)], strict=True):
        assert [chunk.index for chunk in chunks[first:end]] == list(range(end - first))
    assert "".join(chunk.data for chunk in chunks[begins[1] :]) == text
    # What the second call consumed, and no more: nobody knows about the first one.
    assert completed.usage == result.usage


@pytest.mark.slow
async def test_the_stream_of_a_worker_that_was_killed_begins_again_and_the_task_ends_once(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async def script(asked: Exchange) -> None:
        if len(model.asked) > 1:
            await asked.whole("Uno, ", "dos, ", "tres.")
            return
        await asked.head()
        await asked.piece("One, ")
        await asked.piece("two")
        await asked.gone.wait()

    async with a_model(script) as model:
        found = await told_over_a_kill(kafka_bootstrap, tmp_path, f"{model.url}?model=first")

    check_the_break(*found)
    assert len({asked.headers["idempotency-key"] for asked in model.asked}) == 1
    assert len(model.asked) == 2
    [completed] = [event for event in found[0] if event.kind is EventKind.COMPLETED]
    assert completed.usage is not None
    assert (completed.usage.input_tokens, completed.usage.output_tokens) == (10, 3)


@pytest.mark.models
@pytest.mark.asyncio(loop_scope="session")
async def test_the_same_with_a_real_model(
    address: str,
    kafka_bootstrap: str,
    tmp_path: Path,
) -> None:
    check_the_break(
        *await told_over_a_kill(kafka_bootstrap, tmp_path, f"openai+{address}/v1?model={MODEL}")
    )
