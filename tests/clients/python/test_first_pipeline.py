"""Every file and command of docs/first-pipeline.md, in its order, on one system that runs on."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.dev.a_dev import ANY_PORTS, Dev, a_dev, without_variables

pytestmark = [pytest.mark.timeout(300), pytest.mark.pages]

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "first-pipeline.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
YAML = [text for kind, text in BLOCKS if kind == "yaml"]
SHELL = [text for kind, text in BLOCKS if kind == "sh"]
PATHS = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])}


@pytest.fixture(scope="module")
def folder(server_dir: Path) -> Path:
    made = server_dir / "first" / "pipeline"
    (made / "my").mkdir(parents=True)
    (made / "shouter.py").write_text(PYTHON[0])
    (made / "my" / "shout.yaml").write_text(YAML[0])
    return made


@pytest.fixture(scope="module")
def dev(folder: Path) -> Iterator[Dev]:
    [make, run, assigned] = shlex.split(SHELL[0])
    assert (make, run) == ("make", "run")
    arguments = shlex.split(assigned.removeprefix("DEV_ARGS="))
    with a_dev(folder, *arguments, environment={**ANY_PORTS, **PATHS}) as running:
        running.until_ready()
        yield running


def said(dev: Dev) -> str:
    """What dev printed, with its wrapped lines as one."""
    return re.sub(r"\n {4}", " ", dev.shown)


def run_command(dev: Dev, snippet: str) -> "subprocess.CompletedProcess[str]":
    program, *arguments = shlex.split(snippet)
    assert program == ".venv/bin/orchestrator"
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=dev.folder,
        env={**without_variables(), **PATHS},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_page_as_it_stands(dev: Dev) -> None:
    assert "shouter.py: taken: shout" in said(dev)
    assert '{"text":"HELLO THERE"}' in run_command(dev, SHELL[1]).stdout

    (dev.folder / "shouter.py").write_text(PYTHON[1])
    dev.until(lambda: said(dev).count("shouter.py: taken: shout") == 2)
    changed = run_command(dev, SHELL[2])
    refused = run_command(dev, SHELL[3])

    assert '{"text":"HELLO! THERE! "}' in changed.stdout
    assert refused.returncode == 1
    assert "SERVICE_REFUSED" in refused.stderr

    (dev.folder / "my" / "twice.yaml").write_text(YAML[1])
    dev.until(lambda: "pipelines taken: shout.yaml, twice.yaml" in said(dev))
    twice = run_command(dev, SHELL[4])

    assert '{"text":"HELLO!! THERE!! "}' in twice.stdout, twice.stderr


def test_broken_files_are_said_in_one_line_each_and_the_last_good_ones_go_on(dev: Dev) -> None:
    (dev.folder / "shouter.py").write_text("\n\ndef shout(:\n")
    (dev.folder / "my" / "twice.yaml").write_text("pipeline: twice\n  version")
    dev.until(lambda: "pipelines not taken" in said(dev))
    dev.until(lambda: "shouter.py: not taken" in said(dev))
    goes_on = run_command(dev, SHELL[2])

    shown = [line for line in PAGE.splitlines() if " not taken" in line]
    assert shown[0] in said(dev)
    assert re.search(
        r"pipelines not taken, the last good ones go on: \S*my/twice.yaml:\d+", said(dev)
    )
    assert '{"text":"HELLO' in goes_on.stdout


def test_the_readme_shows_the_files_and_commands_of_the_page() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")

    for text in (PYTHON[0], YAML[0], SHELL[0], SHELL[1]):
        assert text in readme
