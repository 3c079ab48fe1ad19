"""A new version takes new tasks; a task that runs keeps its own."""

import json
from dataclasses import replace
from typing import Any

import pytest

from schemas.json_text import compact
from schemas.records import Json
from tasks.pipeline_file import load_pipelines
from tasks.template import Fields, Scope, build, to_json
from tests.tasks.builders import ANSWER, DOCUMENTS, RULES, a_life, a_task_created

NEWER = """\
pipeline: rag
version: 2
steps:
  - {name: generate, service: rag-engine, method: Ask, timeout_s: 9, input: {query: $.input.query}}
  - {name: polish, service: editor, method: Polish, timeout_s: 9, input: {text: $.steps.generate}}
output: $.steps.polish
"""
WITH_NEWER = replace(RULES, pipelines=load_pipelines({"rag2.yaml": NEWER}))


def test_a_task_that_runs_keeps_its_version_and_a_new_one_gets_the_newest() -> None:
    old = a_life()
    old.rules = WITH_NEWER  # the router was started again, with one file more

    old.succeeded(DOCUMENTS)
    waited_for = old.waiting.step
    old.succeeded(ANSWER)
    new = a_life(rules=WITH_NEWER)

    assert (waited_for, old.task.status, old.task.output) == ("generate", "completed", ANSWER)
    assert new.waiting.step == "generate"
    new.succeeded(ANSWER)
    assert new.waiting.step == "polish"


def test_a_task_may_ask_for_an_older_version() -> None:
    life = a_life(a_task_created(pipeline_version=1), rules=WITH_NEWER)

    assert life.waiting.step == "retrieve"


# --- What the built-in pipelines make of their inputs ---


def built(kind: str, step: str, given: dict[str, Any], **outputs: Any) -> Any:
    pipeline = load_pipelines().get(kind)
    assert pipeline is not None
    index = pipeline.index_of(step)
    assert index is not None
    scope = Scope(
        given=Json(json.dumps(given)),
        metadata=Json("{}"),
        outputs={name: Json(json.dumps(value)) for name, value in outputs.items()},  # type: ignore[misc]
    )
    return json.loads(compact(build(pipeline.steps[index].input, scope)))


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("agent", [("run_agent", "agent-engine", "RunAgent")]),
        ("chat", [("generate", "rag-engine", "Generate")]),
        (
            "voice",
            [("transcribe", "voice-engine", "Transcribe"), ("generate", "rag-engine", "Generate")],
        ),
        (
            "multimodal",
            [("extract", "multimodal-engine", "Extract"), ("generate", "rag-engine", "Generate")],
        ),
    ],
)
def test_every_type_takes_its_steps(kind: str, steps: list[tuple[str, str, str]]) -> None:
    pipeline = load_pipelines().get(kind, 1)

    assert pipeline is not None
    assert [(step.name, step.service, step.method) for step in pipeline.steps] == steps


def test_an_agent_gets_ten_iterations_unless_fewer_are_asked_for() -> None:
    assert built("agent", "run_agent", {"query": "q"})["max_iterations"] == 10
    assert built("agent", "run_agent", {"query": "q", "max_iterations": 3})["max_iterations"] == 3


def test_a_chat_passes_its_earlier_turns_on() -> None:
    turns = [{"role": "user", "content": "hello"}]

    assert built("chat", "generate", {"query": "q", "history": turns}) == {
        "query": "q",
        "history": turns,
        "documents": None,
    }


def test_what_was_heard_is_what_is_asked() -> None:
    asked = built("voice", "generate", {"audio": "…"}, transcribe={"text": "why", "confidence": 1})

    assert asked["query"] == "why"


def test_what_was_seen_is_a_document_of_the_question() -> None:
    asked = built("multimodal", "generate", {"image": "…"}, extract={"text": "A red square."})

    assert asked == {
        "query": "What does the image show?",
        "documents": [{"id": "image", "title": "Image", "text": "A red square."}],
    }


def test_a_template_is_shown_as_it_is_written() -> None:
    chat = load_pipelines().get("chat", 1)

    assert chat is not None
    assert isinstance(chat.steps[0].input, Fields)
    assert to_json(chat.steps[0].input) == {
        "query": "$.input.query",
        "history": {"from": "$.input.history", "default": []},
        "documents": {"from": "$.input.documents", "default": None},
    }
