"""The start-up check against packages that shadow ours."""

import subprocess
import sys
from pathlib import Path

import pytest


def start(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program with a folder before everything else on its path."""
    program = "import sys; sys.argv[1:] = {!r}; from orchestrator.__main__ import main; main()"
    return subprocess.run(
        # -P: or else the working directory would come before that folder.
        [sys.executable, "-P", "-c", program.format(list(arguments))],
        env={"PYTHONPATH": str(path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["schemas", "tasks", "streams", "sinks", "agents"])
def test_a_foreign_package_of_the_same_name_stops_the_start_with_a_sentence(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')\n")
    ended = start(tmp_path, "topics", "list")

    assert ended.returncode == 1
    assert f"the package '{name}'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_distribution_that_shadows_is_named(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("")
    metadata = tmp_path / "openai_agents-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: openai-agents\nVersion: 0.1\n")
    (metadata / "RECORD").write_text("agents/__init__.py,,\n")

    assert "'openai-agents'" in start(tmp_path, "topics", "list").stderr


def test_without_a_foreign_package_the_program_runs(tmp_path: Path) -> None:
    ended = start(tmp_path, "topics", "list")

    assert ended.returncode == 0
    assert "orchestrator.task-created.v1" in ended.stdout
