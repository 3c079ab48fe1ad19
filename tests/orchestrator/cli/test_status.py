"""``orchestrator status`` of servers that do not answer: bounded, and said."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.monitoring.target import read_targets, target_text
from orchestrator.running.record import ProcessRecord, RunningSystem
from orchestrator.settings import load_settings
from orchestrator.status import ask_status
from tests.commands import run_command


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_never_answers_is_waited_for_no_longer_than_asked(silent: str) -> None:
    variables = {
        "ORCH_KAFKA_BOOTSTRAP": silent,
        "ORCH_POSTGRES_DSN": f"postgresql://user:secret-word@{silent}/x",
    }
    began = time.monotonic()
    ended = run_command(["status", "--timeout-s", "0.5", "-o", "json"], variables)
    took_s = time.monotonic() - began

    assert ended.status == 1
    assert took_s < 5
    assert "secret-word" not in ended.out + ended.err
    servers = {one["name"]: one for one in ended.document["servers"]}
    assert servers["kafka"]["problem"] == "no answer in 0.5 s"
    assert servers["postgres"]["address"] == silent
    assert not servers["postgres"]["answers"]
    assert (ended.document["lag"], ended.document["pid"]) == (None, None)
    assert ended.err == ""


def test_a_server_that_refuses_is_named_with_the_reason() -> None:
    ended = run_command(["status"], {"ORCH_KAFKA_BOOTSTRAP": "127.0.0.1:1"})

    assert ended.status == 1
    assert "kafka: KAFKA_UNAVAILABLE" in ended.out
    assert "postgres: its address is not set" in ended.out
    assert "consumer lag: not known" in ended.out


def test_without_a_system_and_without_variables_there_is_nothing_to_show() -> None:
    ended = run_command(["status"], {})

    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("error SETTINGS_INVALID: ORCH_KAFKA_BOOTSTRAP and ORCH_POSTGRES_")
    assert "no running system was found: start one with `make run`" in ended.err


async def test_a_process_that_runs_and_does_not_answer_is_not_well(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        (tmp_path / "router.json").write_bytes(
            target_text(address, role="router", process="router")
        )
        system = RunningSystem(
            pid=os.getpid(),
            identity="",
            started_at="2026-01-01T00:00:00+00:00",
            folder=str(tmp_path),
            http="http://127.0.0.1:1",
            variables={"ORCH_METRICS_TARGETS_DIR": str(tmp_path)},
            processes=(
                ProcessRecord(name="router", pid=os.getpid(), restarts=0, log="router.log"),
            ),
        )
        status = await ask_status(load_settings({}), system, timeout_s=0.3)

    [router] = status.processes
    assert (router.answers, router.problem) == (False, "no answer in 0.3 s")


def test_processes_are_found_by_their_files_without_dev(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        (tmp_path / "all.json").write_bytes(target_text(address, role="all", process="all.1"))
        variables = {
            "ORCH_KAFKA_BOOTSTRAP": "127.0.0.1:1",
            "ORCH_METRICS_TARGETS_DIR": str(tmp_path),
        }
        ended = run_command(["status", "--timeout-s", "0.5", "-o", "json"], variables)

    [process] = ended.document["processes"]
    assert ended.status == 1
    assert (process["name"], process["address"], process["pid"]) == ("all.1", address, os.getpid())
    assert process["problem"] == "no answer in 0.5 s"


def test_a_pid_of_another_machine_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "all.json").write_bytes(target_text("h:1", role="all", process="all.1"))
    monkeypatch.setattr("orchestrator.monitoring.target.gethostname", lambda: "elsewhere")

    assert list(read_targets(tmp_path)) == [("all.1", "h:1", None)]
