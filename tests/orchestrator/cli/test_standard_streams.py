"""Commands whose standard streams are full, closed, or cannot hold every character."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PIPELINE = """\
pipeline: rag
version: 9
steps:
  - {name: laugh, service: joker, method: Tell, timeout_s: 1, input: {text: {literal: "é…"}}}
output: $.steps.laugh
"""
FULL = "error OUTPUT_NOT_WRITTEN: No space left on device\n"


def run(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell, which redirects its streams."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
    return subprocess.run(
        ["/bin/sh", "-c", f'"$PYTHON" -m orchestrator {command}'],
        env={**kept, "PYTHON": sys.executable, "ORCH_DEV_FIND": "false", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize(
    "command", ["topics list", "pipelines list -o json", "--version", "--help"]
)
def test_a_full_standard_output_is_one_line_with_a_code(command: str) -> None:
    ended = run(f"{command} >/dev/full")

    assert ended.returncode == 1
    assert ended.stderr.endswith(FULL)
    assert "Traceback" not in ended.stderr


def test_a_command_without_standard_output_does_its_work() -> None:
    ended = run("pipelines list >&-")

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_command_without_any_stream_ends_with_its_own_status() -> None:
    assert run("worker nothing <&- >&- 2>&-").returncode == 2


def test_a_document_from_a_closed_standard_input_is_empty() -> None:
    ended = run("task create --direct --type rag --input - <&-", ORCH_KAFKA_BOOTSTRAP="127.0.0.1:1")

    assert ended.returncode == 1
    assert ended.stderr.startswith("error JSON_INVALID: ")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "rag.yaml").write_text(PIPELINE, "utf-8")
    return str(tmp_path)


def test_json_for_an_output_that_holds_only_ascii_is_still_json(folder: str) -> None:
    command = "pipelines show rag@9 -o json"
    ended = run(command, PYTHONIOENCODING="ascii", ORCH_PIPELINES_DIR=folder)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "é…" in json.dumps(json.loads(ended.stdout), ensure_ascii=False)


def test_text_that_an_output_cannot_hold_is_escaped(folder: str) -> None:
    ended = run("pipelines show rag@9", PYTHONIOENCODING="ascii", ORCH_PIPELINES_DIR=folder)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert r'"\u00e9\u2026"' in ended.stdout
