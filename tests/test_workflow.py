"""The workflow of GitHub runs the same commands as anybody else."""

import re
from pathlib import Path
from typing import Any

import yaml

WORKFLOW = Path(".github/workflows/ci.yaml")
JOBS: dict[str, dict[str, Any]] = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]


def test_every_command_is_a_make_target_or_the_gate_of_a_change() -> None:
    makefile = Path("Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    commands = [step["run"] for step in STEPS if "run" in step]

    assert ".ci/run" in commands
    assert [c for c in commands if c.removeprefix("make ") not in {*targets, ".ci/run"}] == []


def test_the_gate_runs_on_every_python_that_the_project_supports() -> None:
    project = Path("pyproject.toml").read_text("utf-8")
    supported = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)

    assert JOBS["checks"]["strategy"]["matrix"]["python"] == supported


def test_every_action_is_pinned_to_a_commit() -> None:
    actions = [step["uses"] for step in STEPS if "uses" in step]

    assert actions
    assert [a for a in actions if not re.search(r"@[0-9a-f]{40}$", a)] == []


def test_no_job_may_write() -> None:
    assert {str(job["permissions"]) for job in JOBS.values()} == {"{'contents': 'read'}"}
