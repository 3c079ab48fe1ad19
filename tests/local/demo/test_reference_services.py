"""The reference services as servers: called through the client that the workers use."""

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from agents.services.client import StepRequest, StepResponse
from agents.services.directory import Directory
from agents.services.failure import ServiceError
from agents.services.grpc_client import GrpcStepClient
from agents.services.settings import ServicesSettings
from orchestrator.local.demo.answer import Answer
from orchestrator.local.demo.calls import CallLog
from orchestrator.local.demo.faults import Fault, Faults
from orchestrator.local.demo.server import ReferenceServices
from orchestrator.local.demo.settings import DemoSettings
from orchestrator.local.demo.step_servicer import StepServicer
from schemas.gen.services.v1.step_service_pb2_grpc import add_StepServiceServicer_to_server
from schemas.records import CommandId, Json, StepName, TaskId
from tests.local.demo.speech import HAS_SPEECH

SPOKEN = Path("orchestrator/local/demo/samples/question.wav").read_bytes()
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextlib.asynccontextmanager
async def a_system(
    demo: DemoSettings | None = None,
) -> AsyncIterator[tuple[ReferenceServices, Directory]]:
    async with ReferenceServices(demo or DemoSettings()) as services:
        directory = Directory(replace(ServicesSettings(), **services.addresses))  # type: ignore[arg-type]
        try:
            yield services, directory
        finally:
            await directory.close()


def a_request(
    method: str,
    input_: object,
    *,
    task_id: str = "task_1",
    tenant_id: str = "acme",
    timeout_s: float = 10.0,
) -> StepRequest:
    return StepRequest(
        method=method,
        input=Json(json.dumps(input_)),
        task_id=TaskId(task_id),
        run=1,
        step=StepName("step"),
        attempt=2,
        tenant_id=tenant_id,
        idempotency_key=CommandId(f"{task_id}/1/step/2"),
        timeout_s=timeout_s,
        trace={"traceparent": TRACEPARENT},
    )


def a_retrieval(**fields: Any) -> StepRequest:
    return a_request("Retrieve", {"query": "What is a consumer group?"}, **fields)


async def retrieve(directory: Directory, **fields: Any) -> StepResponse:
    return await directory.client("retrieval").call(a_retrieval(**fields))


async def the_error_of(directory: Directory, **fields: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await retrieve(directory, **fields)
    return caught.value


async def test_a_question_is_answered_with_citations_tokens_and_cost() -> None:
    question = "What happens when a member of a consumer group fails?"
    async with a_system() as (_, directory):
        found = await directory.client("retrieval-service").call(
            a_request("Retrieve", {"query": question, "top_k": 5})
        )
        documents = json.loads(found.output)["documents"]
        answered = await directory.client("rag-engine").call(
            a_request("Generate", {"query": question, "documents": documents})
        )

    output = json.loads(answered.output)
    assert found.usage is None
    assert 1 <= len(documents) <= 5
    assert "the group rebalances" in output["answer"]
    assert set(output["citations"]) <= {document["id"] for document in documents}
    assert answered.usage is not None
    assert answered.usage.model == "extractive-1"
    assert answered.usage.input_tokens > answered.usage.output_tokens > 0
    assert answered.usage.cost_micros > 0


async def test_bad_input_is_refused_with_the_code_of_the_service() -> None:
    async with a_system() as (_, directory):
        with pytest.raises(ServiceError) as caught:
            await directory.client("retrieval").call(a_request("Retrieve", {"query": ""}))

    assert (caught.value.code, caught.value.detail_code) == ("SERVICE_REFUSED", "QUERY_EMPTY")


async def test_an_unknown_method_is_named_as_such() -> None:
    async with a_system() as (_, directory):
        with pytest.raises(ServiceError) as caught:
            await directory.client("retrieval").call(a_request("Generate", {"query": "a"}))

    assert caught.value.code == "SERVICE_METHOD_UNKNOWN"
    assert caught.value.detail_code == "METHOD_UNKNOWN"


async def test_the_answer_is_streamed_in_pieces_that_are_the_answer() -> None:
    chunks: list[str] = []
    async with a_system() as (services, directory):
        response = await directory.client("rag-engine").call(
            a_request("Generate", {"query": "What is a consumer group?"}), on_chunk=chunks.append
        )

    assert len(chunks) > 5
    assert "".join(chunks) == json.loads(response.output)["answer"]
    assert [call.status for call in services.calls.calls] == ["OK"]


async def test_a_stream_fails_as_a_plain_call_does() -> None:
    async with a_system() as (services, directory):
        services.faults.add(Fault(status="UNAVAILABLE", retry_after_ms=5))
        with pytest.raises(ServiceError) as caught:
            await directory.client("rag-engine").call(
                a_request("Generate", {"query": "x"}), on_chunk=lambda _: None
            )

    assert (caught.value.code, caught.value.retry_after_ms) == ("SERVICE_UNAVAILABLE", 5)


async def test_an_agent_tells_its_iterations_and_what_each_consumed() -> None:
    async with a_system() as (_, directory):
        response = await directory.client("agent-engine").call(
            a_request("RunAgent", {"query": "What is 6 * 7? What is an agent?"})
        )

    assert [step.name for step in response.substeps] == ["calculator", "retrieve", "answer"]
    assert all(step.usage is not None for step in response.substeps)
    assert json.loads(response.output)["finished"] is True


async def test_a_long_call_holds_up_no_other_service_and_ends_when_its_caller_is_gone() -> None:
    audio = base64.b64encode(SPOKEN).decode()
    async with a_system() as (services, directory):
        voice = directory.client("voice-engine")
        if not HAS_SPEECH:
            with pytest.raises(ServiceError, match="SPEECH_NOT_INSTALLED"):
                await voice.call(a_request("Transcribe", {"audio": audio}))
            return
        calls = [
            asyncio.create_task(voice.call(a_request("Transcribe", {"audio": audio})))
            for _ in range(4)
        ]
        await services.calls.wait_until(lambda calls: len(calls) == 4)
        await retrieve(directory, task_id="task_quick")
        quick = services.calls.of_task("task_quick")[0]
        still_running = [call for call in services.calls.of_task("task_1") if not call.ended_s]
        for call in calls:
            call.cancel()
        await services.calls.wait_until(lambda calls: all(call.ended_s for call in calls))
        # The one thread of this service is free again: those that were cancelled gave up.
        last = await voice.call(a_request("Transcribe", {"audio": audio}, timeout_s=60.0))

    assert quick.status == "OK"
    assert still_running
    assert json.loads(last.output)["text"] == "what is speech recognition"


async def test_a_long_method_is_told_that_its_caller_is_gone() -> None:
    began, told = threading.Event(), threading.Event()

    def long_method(text: str, stop: threading.Event) -> Answer:
        began.set()
        if stop.wait(30):
            told.set()
        return Answer(output="{}")

    servicer = StepServicer(
        "long",
        {},
        long_methods={"Wait": long_method},
        executor=None,
        faults=Faults(),
        calls=CallLog(),
    )
    server = grpc.aio.server()
    add_StepServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = GrpcStepClient(f"127.0.0.1:{port}", service="long", max_message_bytes=65536)
    call = asyncio.create_task(client.call(a_request("Wait", {}, timeout_s=60.0)))
    assert await asyncio.to_thread(began.wait, 10)
    call.cancel()
    seen = await asyncio.to_thread(told.wait, 10)
    await client.close()
    await server.stop(grace=None)

    assert seen


@pytest.mark.parametrize(
    ("service", "method", "input_", "code"),
    [
        ("agent-engine", "RunAgent", {"query": "", "max_iterations": 3}, "QUERY_EMPTY"),
        ("voice-engine", "Transcribe", {"audio": "AAAA"}, "AUDIO_NOT_WAV"),
        ("multimodal-engine", "Extract", {"image": "AAAA"}, "IMAGE_UNREADABLE"),
    ],
)
async def test_long_methods_refuse_bad_input_too(
    service: str, method: str, input_: object, code: str
) -> None:
    async with a_system() as (_, directory):
        with pytest.raises(ServiceError) as caught:
            await directory.client(service).call(a_request(method, input_))

    assert (caught.value.code, caught.value.detail_code) == ("SERVICE_REFUSED", code)


# --- Faults ---


async def test_a_fault_ends_after_its_number_of_calls() -> None:
    async with a_system() as (services, directory):
        services.faults.add(
            Fault(status="UNAVAILABLE", times=2, error_code="DOWN", retry_after_ms=250)
        )
        errors = [await the_error_of(directory) for _ in range(2)]
        response = await retrieve(directory)

    assert [(error.code, error.detail_code) for error in errors] == [
        ("SERVICE_UNAVAILABLE", "DOWN")
    ] * 2
    assert errors[0].retry_after_ms == 250
    assert json.loads(response.output)["documents"]


async def test_a_fault_lasts_until_it_is_cleared() -> None:
    async with a_system() as (services, directory):
        services.faults.add(Fault(status="INTERNAL"))
        errors = [await the_error_of(directory) for _ in range(4)]
        services.faults.clear()
        await retrieve(directory)

    assert {error.code for error in errors} == {"SERVICE_FAILED"}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(status="INTERNAL", task_contains="bad"), id="task"),
        pytest.param(Fault(status="INTERNAL", tenant="mallory"), id="tenant"),
        pytest.param(Fault(status="INTERNAL", task_contains="bad", tenant="mallory"), id="both"),
    ],
)
async def test_a_fault_hits_only_the_calls_that_it_names(fault: Fault) -> None:
    async with a_system() as (services, directory):
        services.faults.add(fault)
        await retrieve(directory, task_id="task_good")
        error = await the_error_of(directory, task_id="task_bad_1", tenant_id="mallory")

    assert error.code == "SERVICE_FAILED"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(status="INTERNAL", service="rag_engine"), id="another service"),
        pytest.param(Fault(status="INTERNAL", method="Generate"), id="another method"),
        pytest.param(
            Fault(status="INTERNAL", task_contains="task_1", tenant="other"), id="half a match"
        ),
    ],
)
async def test_a_fault_that_names_something_else_harms_nobody(fault: Fault) -> None:
    async with a_system() as (services, directory):
        services.faults.add(fault)
        response = await retrieve(directory)

    assert json.loads(response.output)["documents"]


async def test_a_fault_may_answer_what_is_no_json() -> None:
    async with a_system() as (services, directory):
        services.faults.add(Fault(output="<html>"))
        response = await retrieve(directory)

    assert response.output == "<html>"


async def test_a_delayed_call_is_answered_all_the_same() -> None:
    async with a_system() as (services, directory):
        services.faults.add(Fault(delay_s=0.2))
        response = await retrieve(directory)

    call = services.calls.calls[0]
    assert json.loads(response.output)["documents"]
    assert call.ended_s is not None
    assert call.ended_s - call.began_s >= 0.2


async def test_faults_come_from_the_settings_too() -> None:
    settings = DemoSettings(faults='[{"service": "retrieval", "status": "ABORTED", "times": 1}]')
    async with a_system(settings) as (_, directory):
        error = await the_error_of(directory)

    assert error.code == "SERVICE_ABORTED"


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[1]",
        "nonsense",
        '[{"state": "x"}]',
        '[{"status": "OK"}]',
        '[{"delay_s": -1}]',
        '[{"times": 0}]',
    ],
)
def test_faults_that_cannot_be_read_stop_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="faults"):
        DemoSettings(faults=text)


@pytest.mark.parametrize("text", ["", " ", "[]"])
def test_no_faults_are_no_faults(text: str) -> None:
    assert DemoSettings(faults=text).faults == text
    assert Faults.parse(text).take("retrieval", None) is None  # type: ignore[arg-type]


# --- The call log ---


async def test_the_log_tells_who_called_and_how_it_ended() -> None:
    async with a_system() as (services, directory):
        await retrieve(directory, task_id="task_7")
        services.faults.add(Fault(status="NOT_FOUND"))
        await the_error_of(directory, task_id="task_7")

    first, second = services.calls.of_task("task_7")
    assert (first.service, first.method, first.tenant_id) == ("retrieval", "Retrieve", "acme")
    assert (first.run, first.step, first.attempt) == (1, "step", 2)
    assert first.idempotency_key == "task_7/1/step/2"
    assert first.traceparent == TRACEPARENT
    assert (first.number, first.status, first.aborted) == (1, "OK", False)
    assert (second.number, second.status, second.aborted) == (2, "NOT_FOUND", False)


async def test_a_call_that_the_caller_cancels_is_noted_as_aborted() -> None:
    async with a_system() as (services, directory):
        services.faults.add(Fault(hang=True))
        call = asyncio.create_task(retrieve(directory))
        await services.calls.wait_until(lambda calls: len(calls) == 1)
        call.cancel()
        await services.calls.wait_until(lambda calls: calls[0].ended_s is not None)
        with pytest.raises(asyncio.CancelledError):
            await call

    assert (services.calls.calls[0].aborted, services.calls.calls[0].status) == (True, None)


async def test_a_call_past_its_deadline_is_noted_as_aborted() -> None:
    async with a_system() as (services, directory):
        services.faults.add(Fault(hang=True))
        error = await the_error_of(directory, timeout_s=0.2)
        await services.calls.wait_until(lambda calls: calls[0].aborted)

    assert error.code == "SERVICE_TIMEOUT"


async def test_other_processes_can_count_calls_while_they_run(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    async with a_system(DemoSettings(call_log=str(log))) as (services, directory):
        services.faults.add(Fault(hang=True, task_contains="slow"))
        await retrieve(directory, task_id="task_fast")
        slow = asyncio.create_task(retrieve(directory, task_id="task_slow"))
        await services.calls.wait_until(lambda calls: len(calls) == 2)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        slow.cancel()
        await asyncio.wait([slow], timeout=5.0)
        await services.calls.wait_until(lambda calls: calls[1].aborted)
    last = json.loads(log.read_text().splitlines()[-1])

    assert [(line["event"], line["task_id"]) for line in lines] == [
        ("began", "task_fast"),
        ("ended", "task_fast"),
        ("began", "task_slow"),
    ]
    assert (last["event"], last["task_id"], last["aborted"]) == ("ended", "task_slow", True)


async def test_a_log_that_was_there_is_continued(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    for _ in range(2):
        async with a_system(DemoSettings(call_log=str(log))) as (_, directory):
            await retrieve(directory)

    assert len(log.read_text().splitlines()) == 4


async def test_a_wait_for_calls_that_do_not_come_ends() -> None:
    async with a_system() as (services, _):
        with pytest.raises(TimeoutError):
            await services.calls.wait_until(lambda calls: len(calls) == 1, timeout_s=0.05)


# --- Start and stop ---


async def test_a_port_that_other_services_have_stops_the_start() -> None:
    async with a_system() as (services, _):
        port = int(services.addresses["retrieval"].rpartition(":")[2])
        with pytest.raises(OSError, match=f"rag_engine: cannot listen at 127.0.0.1:{port}"):
            await ReferenceServices(DemoSettings(rag_engine_port=port)).__aenter__()


async def test_a_call_that_hangs_does_not_hold_up_the_stop() -> None:
    async with a_system() as (services, directory):
        services.faults.add(Fault(hang=True))
        call = asyncio.create_task(retrieve(directory, timeout_s=60.0))
        await services.calls.wait_until(lambda calls: len(calls) == 1)
        async with asyncio.timeout(5.0):
            await services.__aexit__(None, None, None)
        with pytest.raises(ServiceError) as caught:
            await call

    assert caught.value.retriable


@pytest.mark.parametrize("port", [-1, 65536])
def test_an_impossible_port_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="retrieval_port"):
        DemoSettings(retrieval_port=port)
