"""``orchestrator dev``: the two commands of the README end in this one."""

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.e2e.driving import a_database

pytestmark = pytest.mark.timeout(300)


def dev(folder: Path, kafka: str, postgres: str, **environment: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
    variables = {
        **kept,
        "COLUMNS": "200",
        "ORCH_KAFKA_BOOTSTRAP": kafka,
        "ORCH_POSTGRES_DSN": asyncio.run(a_database(postgres)),
        "ORCH_TOPICS_PREFIX": f"dev-{uuid.uuid4().hex[:8]}.",
        "ORCH_TOPICS_PARTITIONS": "1",
        "ORCH_EMBEDDED_DATA_DIR": str(folder),
        **environment,
    }
    return [f"{name}={value}" for name, value in variables.items()]


def start(environment: list[str], *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "dev", *arguments],
        env=dict(line.split("=", 1) for line in environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_once_exits_0_after_the_tasks_completed_and_the_bad_record_is_a_dead_letter(
    tmp_path: Path, kafka_bootstrap: str, postgres_dsn: str
) -> None:
    with start(dev(tmp_path, kafka_bootstrap, postgres_dsn), "--once") as process:
        shown, _ = process.communicate(timeout=200)

    assert process.returncode == 0, shown
    assert shown.count("completed in") == 5
    assert "'what is speech recognition', confidence" in shown
    assert "orange #ff8b00 56%" in shown
    assert 'calculator  (17 + 3) * 2.5 → {"result": 50}' in shown
    assert "micro-USD" in shown
    assert "DECODE_FAILED" in shown


def test_once_exits_1_when_a_task_does_not_complete(
    tmp_path: Path, kafka_bootstrap: str, postgres_dsn: str
) -> None:
    faults = json.dumps([{"service": "retrieval", "status": "INVALID_ARGUMENT", "times": 1}])
    environment = dev(tmp_path, kafka_bootstrap, postgres_dsn, ORCH_DEMO_FAULTS=faults)
    with start(environment, "--once") as process:
        shown, _ = process.communicate(timeout=200)

    assert process.returncode == 1, shown
    assert "it did not go as it should" in shown


def run_task_command(shown: list[str]) -> str:
    """Run the ``orchestrator task`` that was printed; return what it prints."""
    [printed] = [line for line in shown if " task create " in line]
    words = shlex.split(printed)
    command = [sys.executable, "-m", "orchestrator", *words[words.index("task") :]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_a_printed_command_works_and_ctrl_c_stops_every_process_and_exits_0(
    tmp_path: Path, kafka_bootstrap: str, postgres_dsn: str
) -> None:
    with start(dev(tmp_path, kafka_bootstrap, postgres_dsn)) as process:
        assert process.stdout is not None
        shown = []
        for line in process.stdout:
            shown.append(line)
            if "Ctrl-C" in line:
                break
        tried = run_task_command(shown)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)

    assert '"answer"' in tried
    commands = [line for line in shown if "ORCH_KAFKA_BOOTSTRAP=" in line]
    assert process.returncode == 0, "".join(shown)
    assert len(commands) == 3
