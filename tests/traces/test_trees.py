"""A task's spans are one tree, whatever way it came in and whatever failed on its way."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiokafka import AIOKafkaInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from orchestrator.local.dev.system import DEMO_SERVICES
from schemas.gen.orchestrator.v1 import dead_letters_pb2 as letters_pb
from schemas.gen.orchestrator.v1 import dead_letters_pb2_grpc as letters_grpc
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1 import orchestrator_pb2_grpc as pb_grpc
from tests.e2e.driving import a_rag_task
from tests.traces.conftest import Traced
from tests.traces.receiver import WAIT_S, ExportedSpan, named, path, roots

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

QUESTION = {"query": "What is a dead letter?"}
CALLER = "b7ad6b7169203331"
CREATE_BY_GRPC = "orchestrator.v1.Orchestrator/CreateTask"
CREATE_BY_HTTP = "POST /api/v1/tasks"
REPLAY = "orchestrator.v1.DeadLetters/ReplayDeadLetters"
SERVE, UPSTREAM = "ai-orchestrator-serve", "upstream-service"


def a_traceparent(trace_id: str) -> str:
    return f"00-{trace_id}-{CALLER}-01"


def key_of(tenant: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer orch_{tenant}"),)


async def tree_of(
    traced: Traced, task_id: str, *, written: int, root: str = ""
) -> list[ExportedSpan]:
    """The spans of a task, when its last event is written and nothing but the root is at the top.

    A span ends, and is exported, after those in it: the root may be the last one to arrive.
    """
    receiver, topic = traced.receiver, traced.running.topics.task_events

    def whole() -> bool:
        spans = receiver.of_task(task_id)
        done = [s for s in spans if s.name == f"process {topic}"]
        tops = [span.name for span in roots(spans)]
        return len(done) >= written and (tops == [root] if root else len(tops) == 1)

    await receiver.until(whole)
    return receiver.of_task(task_id)


async def events_of(traced: Traced, task_id: str) -> int:
    """How many events a task has, when it has ended."""
    await traced.running.ended([task_id])
    return sum(event["task_id"] == task_id for event in await traced.running.events())


def check_retried(traced: Traced, spans: list[ExportedSpan]) -> None:
    """One attempt of ``generate`` failed, the next one succeeded and reports its usage."""
    topics = traced.running.topics
    lane = topics.step("generate", "normal")  # type: ignore[arg-type]
    first, second = named(spans, f"process {lane}")
    assert (first.failed, second.failed) == (True, False)
    assert (first["orchestrator.step.attempt"], second["orchestrator.step.attempt"]) == (1, 2)
    assert first["error.type"] == "SERVICE_UNAVAILABLE"
    [failed] = [s for s in spans if s.parent == first.id and s.process.endswith("generate")]
    [inference] = [s for s in spans if s.parent == second.id and s["gen_ai.usage.input_tokens"]]
    assert (failed.failed, inference.failed) == (True, False)
    assert inference.name.startswith(f"{inference['gen_ai.operation.name']} ")
    assert inference.name.endswith(inference["gen_ai.request.model"])
    assert inference["gen_ai.usage.output_tokens"] > 0
    assert inference["orchestrator.usage.cost_micros"] > 0
    # The router scheduled the second attempt when it read the result of the first one.
    assert path(spans, second)[-3:] == [
        f"process {lane}",
        f"process {topics.step_results}",
        f"process {lane}",
    ]
    last = named(spans, f"process {topics.task_events}")[-1]
    assert path(spans, last)[-3:-1] == [f"process {lane}", f"process {topics.step_results}"]


async def test_a_task_created_over_grpc_is_one_tree_from_its_caller_to_its_rows(
    traced: Traced,
) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metadata = (*key_of("by-grpc"), ("traceparent", a_traceparent(trace_id)))
    async with grpc.aio.insecure_channel(traced.running.system.grpc_address) as channel:
        created = await pb_grpc.OrchestratorStub(channel).CreateTask(
            pb.CreateTaskRequest(type="rag", input=json.dumps(QUESTION)),
            metadata=metadata,
            wait_for_ready=True,
            timeout=WAIT_S,
        )
    task_id = created.task.id
    written = await events_of(traced, task_id)
    spans = await tree_of(traced, task_id, written=written, root=CREATE_BY_GRPC)

    assert {span.trace_id for span in spans} == {trace_id}
    [root] = roots(spans)
    assert root.parent == CALLER
    assert (root.process, root["rpc.response.status_code"]) == (SERVE, "OK")
    topic = traced.running.topics.task_created
    [decided] = named(spans, f"process {topic}")
    assert path(spans, decided) == [root.name, f"send {topic}", decided.name]
    check_retried(traced, spans)
    assert {span.process.removeprefix("ai-orchestrator-") for span in spans} == {
        *("serve", "router", "step.retrieve", "step.generate", "sink")
    }
    check_lines(traced.running.logs, task_id, spans)


def check_lines(logs: Path, task_id: str, spans: list[ExportedSpan]) -> None:
    """The lines of a task in all logs name its trace, and spans that were exported."""
    lines = [
        json.loads(line)
        for log in logs.glob("*.log")
        for line in log.read_text().splitlines()
        if task_id in line and line.startswith("{")
    ]
    by_event = {line["event"]: line for line in lines}
    assert {"task_sent", "task_decided", "step_failed", "step_succeeded", "event_written"} <= set(
        by_event
    )
    assert {line["task_id"] for line in lines} == {task_id}
    ids = {span.id for span in spans}
    named_spans = [line["span_id"] for line in lines if "span_id" in line]
    assert len(named_spans) > 5
    assert set(named_spans) <= ids
    assert {line["trace_id"] for line in lines if "trace_id" in line} == {spans[0].trace_id}
    assert (by_event["step_failed"]["step"], by_event["step_failed"]["attempt"]) == ("generate", 1)


async def test_a_task_created_over_http_is_one_tree(traced: Traced) -> None:
    trace_id = "1af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": a_traceparent(trace_id), "authorization": "Bearer orch_by-http"}
    address = f"http://{traced.running.system.http_address}"
    async with httpx.AsyncClient(base_url=address, timeout=WAIT_S) as client:
        body = {"type": "rag", "input": QUESTION}
        created = await client.post("/api/v1/tasks", json=body, headers=headers)
    task_id = created.json()["task"]["id"]
    written = await events_of(traced, task_id)
    spans = await tree_of(traced, task_id, written=written, root=CREATE_BY_HTTP)

    [root] = roots(spans)
    assert (root.trace_id, root.parent) == (trace_id, CALLER)
    assert root["http.response.status_code"] == 201
    check_retried(traced, spans)


async def test_a_task_of_an_instrumented_producer_is_one_tree(traced: Traced) -> None:
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: UPSTREAM}))
    exporter = OTLPSpanExporter(endpoint=f"{traced.receiver.endpoint}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    task = a_rag_task("by-kafka")
    instrumentor = AIOKafkaInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        await traced.running.create([task])
    finally:
        instrumentor.uninstrument()
    written = await events_of(traced, task.task_id)
    spans = await tree_of(traced, task.task_id, written=written)

    [root] = roots(spans)
    assert (root.process, root.parent) == (UPSTREAM, "")
    check_retried(traced, spans)


async def test_a_batch_of_writes_links_to_the_events_that_it_wrote(traced: Traced) -> None:
    task = a_rag_task()
    await traced.running.create([task])
    spans = await tree_of(traced, task.task_id, written=await events_of(traced, task.task_id))
    topics = traced.running.topics

    for written in named(spans, f"process {topics.task_events}"):
        [(trace_id, batch_id)] = written.links
        await traced.receiver.until(
            lambda wanted=batch_id: any(s.id == wanted for s in traced.receiver.spans)  # type: ignore[misc]
        )
        [batch] = [s for s in traced.receiver.spans if s.id == batch_id]
        assert (batch.name, batch.trace_id, batch.parent) == ("write tasks", trace_id, "")
        assert (written.trace_id, written.parent) in batch.links


async def test_the_replay_of_a_dead_letter_is_linked_to_the_trace_that_failed(
    traced: Traced,
) -> None:
    task = a_rag_task("refused")
    await traced.running.create([task])
    await traced.running.ended([task.task_id])
    async with grpc.aio.insecure_channel(traced.running.system.grpc_address) as channel:
        letters: Any = letters_grpc.DeadLettersStub(channel)
        letter_id = await the_letter_of(letters, task.task_id)
        request = letters_pb.ReplayDeadLettersRequest(
            ids=[letter_id], dry_run=False, reason="mended"
        )
        await letters.ReplayDeadLetters(request, metadata=key_of("refused"), timeout=WAIT_S)
    await traced.running.row_until(task.task_id, lambda row: row["status"] == "completed")
    topics = traced.running.topics

    def whole() -> bool:
        spans = traced.receiver.of_task(task.task_id)
        tops = [span.name for span in roots(spans)]
        return len(tops) == 2 and REPLAY in tops and any(inferences(spans))

    await traced.receiver.until(whole)
    spans = traced.receiver.of_task(task.task_id)
    [created] = named(spans, f"create {topics.task_commands}")
    replayed = [span for span in spans if span.trace_id == created.trace_id]
    failed = [span for span in spans if span.trace_id != created.trace_id]
    [(linked_trace, linked_span)] = created.links
    assert linked_trace == failed[0].trace_id
    # The span in which the router decided that the task has failed.
    assert linked_span in {span.id for span in named(failed, f"process {topics.step_results}")}
    assert created["orchestrator.dead_letter.id"] == letter_id
    [root] = roots(replayed)
    assert root.name == REPLAY
    assert any(span.failed for span in failed)
    assert not any(span.failed for span in replayed)
    [inference] = inferences(spans)
    assert inference in replayed


def inferences(spans: list[ExportedSpan]) -> list[ExportedSpan]:
    return [span for span in spans if span["gen_ai.request.model"] is not None]


async def the_letter_of(letters: Any, task_id: str) -> str:
    """Wait until the index shows the dead letter of a task."""
    wanted = letters_pb.ListDeadLettersRequest(
        filter=letters_pb.DeadLetterFilter(task_id=[task_id])
    )
    async with asyncio.timeout(WAIT_S):
        while True:
            page = await letters.ListDeadLetters(
                wanted, metadata=key_of("refused"), wait_for_ready=True
            )
            if page.dead_letters:
                return str(page.dead_letters[0].id)
            await asyncio.sleep(0.1)


async def test_every_process_switches_its_log_level_at_a_signal(traced: Traced) -> None:
    children = traced.running.system.supervisor.children
    roles = {name: child for name, child in children.items() if name != DEMO_SERVICES}

    def levels(name: str) -> list[str]:
        lines = (traced.running.logs / f"{name}.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if "log_level_changed" in line]
        return [line["new_level"] for line in found]

    for wanted in (["info"], ["info", "debug"]):
        for child in roles.values():
            child.signal(signal.SIGUSR1)
        await traced.running.until(lambda wanted=wanted: all(levels(n) == wanted for n in roles))  # type: ignore[misc]

    assert {"router", "sink", "serve", "step.generate"} <= set(roles)
