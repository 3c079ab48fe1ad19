"""The pipelines of an installation, and the commands that show and check them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.pipelines import PipelinesSettings, installed_pipelines
from schemas.errors import OrchestratorError, SettingsError
from schemas.records import StepName

HAIKU = """\
pipeline: haiku
version: 1
steps:
  - {name: write, service: poet, method: Write, timeout_s: 5, input: {topic: $.input.topic}}
output: $.steps.write
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_PIPELINES_DIR", str(tmp_path))
    (tmp_path / "haiku.yaml").write_text(HAIKU)
    (tmp_path / "notes.txt").write_text("no pipeline")
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["pipelines", *arguments])


def shown(*arguments: str) -> Any:
    result = run(*arguments, "-o", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# --- ORCH_PIPELINES_DIR ---


def test_a_file_in_the_folder_is_a_new_task_type(folder: Path) -> None:
    pipelines = installed_pipelines(PipelinesSettings(dir=folder))

    assert pipelines.names == ("agent", "chat", "haiku", "multimodal", "rag", "voice")
    assert pipelines.services[StepName("write")] == "poet"


def test_a_newer_version_of_a_built_in_pipeline_takes_its_place_for_new_tasks(folder: Path) -> None:
    (folder / "rag.yaml").write_text(HAIKU.replace("haiku\nversion: 1", "rag\nversion: 2"))

    pipelines = installed_pipelines(PipelinesSettings(dir=folder))

    newest, first = pipelines.newest("rag"), pipelines.get("rag", 1)
    assert newest is not None
    assert first is not None
    assert (newest.version, len(first.steps)) == (2, 2)


def test_without_a_folder_there_are_the_built_in_pipelines() -> None:
    assert len(installed_pipelines(PipelinesSettings()).all) == 5


@pytest.mark.parametrize("broken", [b"\xff", b"pipeline: x", b"#" * 2_000_000])
def test_a_file_that_is_wrong_stops_the_start(folder: Path, broken: bytes) -> None:
    (folder / "broken.yaml").write_bytes(broken)

    with pytest.raises(OrchestratorError, match=r"broken\.yaml"):
        installed_pipelines(PipelinesSettings(dir=folder))


def test_a_folder_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ORCH_PIPELINES_DIR"):
        installed_pipelines(PipelinesSettings(dir=tmp_path / "nowhere"))


# --- The commands ---


def test_list_shows_every_version_and_which_one_new_tasks_get(folder: Path) -> None:
    (folder / "haiku2.yaml").write_text(HAIKU.replace("version: 1", "version: 2"))

    haikus = [row for row in shown("list") if row["name"] == "haiku"]
    table = run("list").stdout

    assert [(row["version"], row["newest"]) for row in haikus] == [(1, False), (2, True)]
    assert {"agent", "chat", "multimodal", "rag", "voice"} <= {row["name"] for row in shown("list")}
    assert re.search(r"haiku\s+2\s+yes", table)


@pytest.mark.parametrize("name", ["haiku", "haiku@1"])
def test_show_tells_the_steps_and_their_inputs(folder: Path, name: str) -> None:
    pipeline = shown("show", name)
    [step] = pipeline["steps"]

    assert (step["service"], step["method"], step["timeout_ms"]) == ("poet", "Write", 5000)
    assert step["input"] == {"topic": "$.input.topic"}
    assert pipeline["output"] == "$.steps.write"
    assert "poet Write, 5 s an attempt" in run("show", name).stdout


@pytest.mark.parametrize("name", ["haiku@2", "sonnet", "haiku@x", "@1"])
def test_show_of_what_is_not_there_names_what_is(folder: Path, name: str) -> None:
    ended = CliRunner().invoke(app, ["pipelines", "show", name], env={"COLUMNS": "200"})

    assert ended.exit_code == 2
    assert re.search(r"agent@1|is not a version", ended.output)


def test_validate_says_that_good_files_are_good(folder: Path) -> None:
    result = run("validate", str(folder / "haiku.yaml"), "tasks/pipelines/rag.yaml")

    assert result.exit_code == 0, result.output
    assert f"{folder}/haiku.yaml: haiku version 1 is good" in result.stdout


def test_validate_names_file_and_line_of_each_wrong_file(folder: Path) -> None:
    first, second = folder / "a.yaml", folder / "b.yaml"
    first.write_text(HAIKU.replace("version: 1", "version: none"))
    second.write_text(HAIKU.replace("timeout_s: 5", "timeout_s: 0"))

    result = run("validate", str(first), str(second))
    as_json = json.loads(run("validate", str(first), "-o", "json").stdout)

    assert result.exit_code == 1
    assert f"{first}:2: expected a whole number" in result.stderr
    assert f"{second}:4: expected a number above 0" in result.stderr
    assert as_json["problems"][0].startswith(f"{first}:2: ")


def test_validate_finds_what_contradicts_an_installed_pipeline(folder: Path) -> None:
    other = folder.parent / "other.yaml"
    other.write_text(HAIKU.replace("haiku", "ode").replace("poet", "bard"))

    result = run("validate", str(other))

    assert result.exit_code == 1
    assert "step write calls" in result.stderr
