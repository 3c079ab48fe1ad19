"""All five task types, through the whole system and with services that compute.

The groups: the full flow of each type (RAG first), pipelines that fail, cancels in the
middle, many tasks at once.
"""

import base64
import json
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.local.demo.picture import sunset
from schemas.codec import encode
from schemas.headers import header_text
from schemas.records import CommandKind, Json, Millis, TaskCommand, TaskCreated
from tests.e2e.driving import Running, a_rag_task
from tests.local.demo.speech import HAS_SPEECH

pytestmark = pytest.mark.asyncio(loop_scope="session")

SPOKEN = base64.b64encode(
    Path("orchestrator/local/demo/samples/question.wav").read_bytes()
).decode()
PICTURE = base64.b64encode(sunset()).decode()

INPUTS: dict[str, dict[str, Any]] = {
    "rag": {"query": "What is a dead letter?"},
    "agent": {"query": "What is 6 * 7? What is an agent?"},
    "chat": {
        "query": "And what happens when one fails?",
        "history": [{"role": "user", "content": "What is a consumer group?"}],
    },
    "voice": {"audio": SPOKEN},
    "multimodal": {"image": PICTURE, "query": "Which colours does the image have?"},
}
STEPS = {
    "rag": ["retrieve", "generate"],
    "agent": ["run_agent"],
    "chat": ["generate"],
    "voice": ["transcribe", "generate"],
    "multimodal": ["extract", "generate"],
}


def a_task(kind: str, tenant: str = "acme", **given: Any) -> TaskCreated:
    return a_rag_task(tenant, type=kind, input=Json(json.dumps(given or INPUTS[kind])))


async def completed(running: Running, task: TaskCreated) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row and the output of a task that must complete."""
    await running.create([task])
    row = dict((await running.ended([task.task_id]))[task.task_id])
    assert row["status"] == "completed", (row["error_code"], row["error_message"])
    assert [step["name"] for step in json.loads(row["steps"])] == STEPS[task.type]
    await running.check([task.task_id])
    return row, json.loads(row["output"])


# --- The full flow of each type ---


async def test_full_rag_flow_retrieves_and_answers_from_what_it_found(running: Running) -> None:
    row, output = await completed(running, a_task("rag"))

    retrieved, generated = (step["output"] for step in json.loads(row["steps"]))
    assert "dead letter" in output["answer"].lower()
    assert set(output["citations"]) <= {document["id"] for document in retrieved["documents"]}
    assert generated == output
    assert row["cost_micros"] > 0


async def test_full_agent_flow_records_each_iteration_as_a_substep(running: Running) -> None:
    row, output = await completed(running, a_task("agent"))

    [step] = json.loads(row["steps"])
    substeps = step["substeps"]
    assert (output["finished"], output["iterations"]) == (True, 3)
    assert output["answer"].startswith("6 * 7 = 42.")
    assert [substep["name"] for substep in substeps] == ["calculator", "retrieve", "answer"]
    assert as_json(substeps[0]["input"]) == {"argument": "6 * 7"}
    assert as_json(substeps[0]["output"]) == {"result": 42}
    assert all(substep["completed_at"] is not None for substep in substeps)
    assert row["cost_micros"] == sum(substep["usage"]["cost_micros"] for substep in substeps)


async def test_an_agent_at_its_limit_completes_unfinished(running: Running) -> None:
    question = " ".join(f"What is {n} + {n}?" for n in range(1, 15))

    row, output = await completed(running, a_task("agent", query=question))

    [step] = json.loads(row["steps"])
    assert (output["finished"], output["iterations"], len(step["substeps"])) == (False, 10, 10)


async def test_full_chat_flow_understands_a_follow_up_from_the_earlier_turns(
    running: Running,
) -> None:
    _, output = await completed(running, a_task("chat"))

    assert "the group rebalances" in output["answer"]


async def failed_for_want_of_speech(running: Running, task: TaskCreated) -> None:
    """A voice task on a Python without a recogniser: one attempt, and the reason."""
    await running.create([task])
    row = (await running.ended([task.task_id]))[task.task_id]
    assert (row["status"], row["error_step"]) == ("failed", "transcribe")
    assert (row["error_code"], row["error_retriable"]) == ("SERVICE_REFUSED", False)
    assert "SPEECH_NOT_INSTALLED" in row["error_message"]
    assert "speech recognition needs Python 3.11" in row["error_message"]
    await running.check([task.task_id])


async def test_full_voice_flow_hears_the_words_and_answers_them(running: Running) -> None:
    if not HAS_SPEECH:
        await failed_for_want_of_speech(running, a_task("voice"))
        return
    _, output = await completed(running, a_task("voice"))

    assert set(output) == {"text", "confidence", "answer"}
    assert output["text"] == "what is speech recognition"
    assert 0 < output["confidence"] <= 1
    assert "turns audio into text" in output["answer"]


async def test_full_multimodal_flow_sees_the_image_and_answers_about_it(running: Running) -> None:
    _, output = await completed(running, a_task("multimodal"))

    assert [colour["name"] for colour in output["image"]["colours"]] == ["orange", "navy", "yellow"]
    assert "orange" in output["answer"]


async def test_a_file_in_the_pipelines_folder_is_a_task_type_also_with_a_service_over_http(
    running: Running,
) -> None:
    task = a_task("search", words="dead letter")
    await running.create([task])

    row = (await running.ended([task.task_id]))[task.task_id]
    assert (row["status"], row["pipeline"], row["pipeline_version"]) == ("completed", "search", 3)
    output = json.loads(row["output"])
    assert len(output["found"]) == 2
    assert output["said"] == "DEAD LETTER"


# --- Pipelines that fail ---


@pytest.mark.parametrize(
    ("kind", "given", "detail"),
    [
        ("rag", {"query": " "}, "QUERY_EMPTY"),
        ("agent", {"query": "1 + 1", "max_iterations": 11}, "MAX_ITERATIONS_INVALID"),
        ("chat", {"query": ""}, "QUERY_EMPTY"),
        ("voice", {"audio": "AAAA"}, "AUDIO_NOT_WAV"),
        ("multimodal", {"image": "AAAA"}, "IMAGE_UNREADABLE"),
    ],
)
async def test_pipeline_failure_of_a_step_for_good_fails_the_task_and_dead_letters_its_command(
    running: Running, kind: str, given: dict[str, Any], detail: str
) -> None:
    task = a_task(kind, **given)
    await running.create([task])

    row = (await running.ended([task.task_id]))[task.task_id]
    [step] = json.loads(row["steps"])
    failed = [e for e in await running.events() if e["task_id"] == task.task_id][-1]["step"]
    letter = await running.dead_letter(
        failed["command_topic"], (failed["command_partition"], failed["command_offset"])
    )
    assert (row["status"], row["error_code"]) == ("failed", "SERVICE_REFUSED")
    assert detail in row["error_message"]
    assert (step["name"], step["attempt"]) == (STEPS[kind][0], 1)
    assert header_text(letter.headers, "__dlq.task.id") == task.task_id
    await running.check([task.task_id])


async def test_pipeline_failure_of_a_later_step_keeps_what_the_earlier_one_gave(
    running: Running,
) -> None:
    task = a_task("voice", "garbled")  # the rag engine answers what is no JSON
    if not HAS_SPEECH:
        await failed_for_want_of_speech(running, task)
        return
    await running.create([task])

    row = (await running.ended([task.task_id]))[task.task_id]
    transcribed, generated = json.loads(row["steps"])
    assert (row["status"], row["error_step"]) == ("failed", "generate")
    assert transcribed["output"]["text"] == "what is speech recognition"
    assert generated["status"] == "failed"


# --- Cancels in the middle ---


async def test_cancel_in_the_middle_ends_tasks_of_every_type_and_nothing_completes_afterwards(
    running: Running,
) -> None:
    tasks = [a_task(kind, "late") for kind in INPUTS]
    ids = [task.task_id for task in tasks]
    await running.create(tasks)
    await running.until(lambda: {call["task_id"] for call in running.calls()} >= set(ids))

    await running.publish(
        running.topics.task_commands,
        [(task.task_id.encode(), encode(a_cancel(task))) for task in tasks],
    )

    rows = await running.ended(ids)
    # The services answer after three seconds, or notice that nobody waits.
    await running.until(lambda: ended_calls(running, ids) >= len(ids))
    marker = [a_task("rag") for _ in range(8)]
    await running.create(marker)
    await running.ended([task.task_id for task in marker])
    last = {event["task_id"]: event["kind"] for event in await running.events()}
    called = Counter(call["task_id"] for call in running.calls() if call["task_id"] in set(ids))
    assert {row["status"] for row in rows.values()} == {"cancelled"}
    assert {row["output"] for row in rows.values()} == {None}
    assert [last[task_id] for task_id in ids] == ["cancelled"] * len(ids)
    assert set(called.values()) == {1}, "a step was called after the cancel"
    await running.check(ids)


# --- Many at once ---


@pytest.mark.timeout(300)
async def test_concurrency_of_fifty_tasks_of_all_types_completes_every_one_as_if_alone(
    running: Running,
) -> None:
    # Speech takes the one processor that recognises it seconds each: fewer of these.
    kinds = ["rag", "agent", "chat", "multimodal"] * 12 + ["voice"] * 2
    tasks = [a_task(kind) for kind in kinds]
    alone = {}
    for kind in ("rag", "agent", "chat", "multimodal"):
        _, alone[kind] = await completed(running, a_task(kind))
    await running.create(tasks)

    rows = await running.ended([task.task_id for task in tasks], timeout_s=240)
    assert len(tasks) == 50
    assert Counter(row["status"] for row in rows.values()) == (
        {"completed": 50} if HAS_SPEECH else {"completed": 48, "failed": 2}
    )
    for task in tasks:
        if task.type == "voice" and not HAS_SPEECH:
            assert "SPEECH_NOT_INSTALLED" in rows[task.task_id]["error_message"]
            continue
        output = json.loads(rows[task.task_id]["output"])
        assert output == alone.get(task.type, output)
    await running.check([task.task_id for task in tasks])


def as_json(document: Any) -> Any:
    return json.loads(document) if isinstance(document, str) else document


def a_cancel(task: TaskCreated) -> TaskCommand:
    return TaskCommand(
        command_id=f"cmd_{uuid.uuid4()}",
        task_id=task.task_id,
        tenant_id=task.tenant_id,
        kind=CommandKind.CANCEL,
        actor="test",
        issued_at=Millis(time.time_ns() // 1_000_000),
    )


def ended_calls(running: Running, ids: Sequence[str]) -> int:
    lines = map(json.loads, running.call_log.read_text().splitlines())
    return sum(line["event"] == "ended" and line["task_id"] in set(ids) for line in lines)
