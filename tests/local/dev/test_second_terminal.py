"""A second terminal, in which no variable is set, works on the system of the first one."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.dev.a_dev import Dev, a_dev, in_a_terminal, without_variables

pytestmark = [pytest.mark.pages, pytest.mark.timeout(300)]

EXAMPLES = Path("examples").absolute()
QUESTION = json.dumps({"query": "What is a dead letter?"})


@pytest.fixture(scope="module")
def dev(server_dir: Path) -> Iterator[Dev]:
    """The whole system with servers of its own, without the demonstration."""
    with a_dev(server_dir / "second" / "terminal", "--no-demo") as running:
        running.until_ready()
        (running.folder / "below").mkdir()
        yield running


def status(dev: Dev) -> dict[str, Any]:
    ended = in_a_terminal(dev.folder, "status", "-o", "json")
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


def part(document: dict[str, Any], name: str) -> dict[str, Any]:
    parts = [*document["servers"], *document["processes"]]
    return next(one for one in parts if one["name"] == name)


def test_a_second_terminal_finds_the_running_system_and_says_so(dev: Dev) -> None:
    created = in_a_terminal(
        dev.folder / "below", "task", "create", "--type", "rag", "--input", QUESTION, "--wait"
    )

    assert created.returncode == 0, created.stderr
    assert '"answer"' in created.stdout
    assert re.fullmatch(
        rf"using the system in {re.escape(str(dev.folder))}/\.orchestrator "
        rf"\(started \d\d:\d\d, pid {dev.process.pid}\)\n",
        created.stderr,
    )


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "env",
        "doctor",
        "topics list",
        "topics apply",
        "task list",
        "task list --direct",
        "tail task-events --from-start --until-end",
        "tail dlq.task-created --from-start --until-end",
        "usage --by tenant",
        "dlq list",
        "dlq stats",
        "migrate status",
        "sink verify",
    ],
)
def test_a_command_works_without_any_variable(dev: Dev, command: str) -> None:
    ended = in_a_terminal(dev.folder, *command.split())

    assert ended.returncode == 0, (ended.stdout, ended.stderr)
    assert "using the system in .orchestrator (started" in ended.stderr
    assert f"pid {dev.process.pid})" in ended.stderr


def test_a_variable_wins_and_the_search_can_be_turned_off(dev: Dev) -> None:
    other = in_a_terminal(dev.folder, "topics", "apply", ORCH_KAFKA_BOOTSTRAP="127.0.0.1:1")
    off = in_a_terminal(dev.folder, "topics", "apply", ORCH_DEV_FIND="false")

    assert "KAFKA_UNAVAILABLE" in other.stderr
    assert "using the system" not in other.stderr
    assert off.stderr.startswith("error SETTINGS_INVALID: ORCH_KAFKA_BOOTSTRAP is not set, ")
    assert len(off.stderr.splitlines()) == 1


def test_an_option_that_names_the_service_needs_no_running_system(dev: Dev) -> None:
    ended = in_a_terminal(dev.folder, "task", "list", "--server", "127.0.0.1:1")

    assert "API_UNAVAILABLE" in ended.stderr
    assert "using the system" not in ended.stderr


def test_status_shows_servers_processes_versions_ports_and_lag(dev: Dev) -> None:
    shown = status(dev)

    assert shown["pid"] == dev.process.pid
    assert all(one["answers"] for one in [*shown["servers"], *shown["processes"]])
    assert re.fullmatch(r"\d+\.\d+\.\d+", part(shown, "kafka")["version"])
    assert re.fullmatch(r"\d+(\.\d+)*", part(shown, "postgres")["version"])
    assert {"router", "sink", "dlq-index", "serve", "step.retrieve"} <= {
        one["name"] for one in shown["processes"]
    }
    assert len(part(shown, "serve")["ports"]) == 2
    for one in [*shown["servers"], *shown["processes"]]:
        assert Path(one["log"]).is_file(), one["name"]
        os.kill(one["pid"], 0)
        assert one["restarts"] == 0, one["name"]
    lag = {one["group"]: one for one in shown["lag"]}
    assert set(lag["orchestrator.router"]["topics"]) == {
        "orchestrator.task-created.v1",
        "orchestrator.task-commands.v1",
        "orchestrator.step-results.v1",
    }


def test_status_for_people_fits_80_columns(dev: Dev) -> None:
    import pty

    terminal, other_end = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "orchestrator", "status"],
        cwd=dev.folder,
        env=without_variables(),
        stdout=other_end,
        stderr=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    os.close(other_end)
    found = b""
    try:
        while piece := os.read(terminal, 65_536):
            found += piece
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(terminal)
    lines = found.decode().replace("\r\n", "\n").splitlines()

    assert max(map(len, lines)) <= 80, lines
    assert any(re.search(r"^kafka \S+ +\d+ +\d+ +\d+ ms +kafka/kafka.log", line) for line in lines)
    assert any(line.startswith("step.transcribe") for line in lines)


def test_a_shell_takes_the_variables_of_the_running_system(dev: Dev) -> None:
    variables = json.loads((dev.folder / ".orchestrator" / "running.json").read_text())["variables"]
    program = f"{sys.executable} -m orchestrator"
    ended = subprocess.run(
        ["sh", "-c", f'eval "$({program} env)"; cd /; echo $ORCH_POSTGRES_DSN; {program} usage'],
        cwd=dev.folder,
        env=without_variables(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert ended.stdout.splitlines()[0] == variables["ORCH_POSTGRES_DSN"]
    assert ended.stderr.count("using the system") == 1


@pytest.mark.parametrize("example", ["publish_task.py", "read_events.py", "step_results.py"])
def test_an_example_works_from_any_folder_without_any_variable(dev: Dev, example: str) -> None:
    ended = subprocess.run(
        [sys.executable, EXAMPLES / example],
        cwd=dev.folder / "below",
        env=without_variables(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    if example == "publish_task.py":
        assert ended.stdout.startswith("task_")


def test_a_role_that_is_killed_is_found_under_its_new_pid(dev: Dev) -> None:
    before = part(status(dev), "step.extract")
    os.kill(before["pid"], signal.SIGKILL)
    dev.until(lambda: part(status(dev), "step.extract")["restarts"] == before["restarts"] + 1)
    after = part(status(dev), "step.extract")

    assert after["pid"] != before["pid"]
    assert re.search(r"process_ended, name step\.extract", dev.shown)


@pytest.mark.parametrize("name", ["kafka", "postgres"])
def test_a_server_that_is_killed_comes_back_and_its_end_is_a_short_notice(
    dev: Dev, name: str
) -> None:
    before = part(status(dev), name)
    os.kill(before["pid"], signal.SIGKILL)
    dev.until(lambda: f"server_started_again, name {name}" in dev.shown)
    dev.until(lambda: bool(part(status(dev), name)["answers"]))

    assert part(status(dev), name)["ports"] == before["ports"]
    [notice] = re.findall(
        rf"^\d\d:\d\d:\d\d warning: server_ended, name {name}.*\n(?:    .*\n)*",
        dev.shown,
        re.MULTILINE,
    )
    assert f".orchestrator/{name}/{name}.log" in notice
    assert len(notice) < 400


def test_what_dev_prints_fits_80_columns_and_holds_no_password(dev: Dev) -> None:
    file = dev.folder / ".orchestrator" / "running.json"
    dsn = json.loads(file.read_text())["variables"]["ORCH_POSTGRES_DSN"]
    password = dsn.split("@")[0].rsplit(":", 1)[1]

    assert password not in dev.shown
    assert "orchestrator:***@127.0.0.1" in dev.shown
    summary = dev.shown[dev.shown.index("  HTTP") : dev.shown.index("Ctrl-C stops")]
    # The path of this Python is as long as it is.
    lines = [line.replace(sys.executable, "python") for line in summary.splitlines()]
    assert [line for line in lines if len(line) > 80] == []
    assert ".orchestrator/kafka/kafka.log" in summary
    assert ".orchestrator/logs/*.log" in summary
