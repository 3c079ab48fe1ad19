"""`orchestrator dev --models` against the real models, which are fetched: `make test-models`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.dev.a_dev import Dev, a_dev, in_a_terminal, without_variables

FETCH_S = 900.0
ANSWER_S = 150.0
pytestmark = [pytest.mark.models, pytest.mark.timeout(FETCH_S + ANSWER_S)]
QUESTION = json.dumps({"query": "What is a lane?"})


@pytest.fixture(scope="module")
def dev(server_dir: Path) -> Iterator[Dev]:
    with a_dev(server_dir / "with models", "--no-demo", "--models") as running:
        running.until(lambda: "Ctrl-C stops everything" in running.shown, timeout_s=FETCH_S)
        yield running


def test_an_answer_from_the_found_passages_is_streamed_token_by_token(dev: Dev) -> None:
    assert "Two models answer on this machine" in dev.shown
    assert "task create --type rag --stream" in dev.shown
    command = [sys.executable, "-m", "orchestrator", "task", "create", "--type", "rag"]
    terminal = subprocess.Popen(
        [*command, "--stream", "--input", QUESTION],
        cwd=dev.folder,
        env=without_variables(),
        stdout=subprocess.PIPE,
    )
    assert terminal.stdout is not None
    pieces = []
    while piece := os.read(terminal.stdout.fileno(), 65_536):
        pieces.append(piece.decode())

    assert terminal.wait(ANSWER_S) == 0
    output = json.loads("".join(pieces).splitlines()[-1])
    assert len(pieces) > 3
    assert "".join(pieces).startswith(output["answer"].splitlines()[0])
    assert "corpus/glossary.md#7" in output["citations"]


@pytest.mark.parametrize("kind", ["chat", "agent"])
def test_other_task_types_are_answered_by_the_model(dev: Dev, kind: str) -> None:
    created = in_a_terminal(
        dev.folder, "task", "create", "--type", kind, "--input", QUESTION, "--wait"
    )
    assert created.returncode == 0, created.stderr
    task_id, output = created.stdout.splitlines()
    assert json.loads(output)["answer"]

    shown = in_a_terminal(dev.folder, "task", "get", task_id, "-o", "json")
    text = json.dumps(json.loads(shown.stdout))
    assert "smollm2-135m-instruct" in text
    assert ('"search"' in text) == (kind == "agent")
