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

from tests.commands import run_command
from tests.e2e.driving import a_database
from tests.local.demo.speech import HAS_SPEECH

pytestmark = [pytest.mark.pages, pytest.mark.timeout(300)]


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
        "ORCH_API_HTTP_PORT": "0",
        "ORCH_API_GRPC_PORT": "0",
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
    if HAS_SPEECH:
        assert shown.count("completed in") == 5
        assert "'what is speech recognition', confidence" in shown
    else:
        assert shown.count("completed in") == 4
        assert "SPEECH_NOT_INSTALLED" in shown
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


def printed_commands(shown: str) -> list[list[str]]:
    """The commands that were printed, as a shell reads them."""
    section = shown[shown.index("in another terminal") : shown.index("Ctrl-C")]
    lines = section.partition("\n\n")[2].replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def run_printed(words: list[str], folder: Path) -> str:
    """Run a printed command where no address is set; return what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
    environment = {**kept, "ORCH_EMBEDDED_DATA_DIR": str(folder)}
    return subprocess.run(
        words, capture_output=True, text=True, timeout=60, check=True, env=environment
    ).stdout


def test_a_printed_command_works_and_ctrl_c_stops_every_process_and_exits_0(
    tmp_path: Path, kafka_bootstrap: str, postgres_dsn: str
) -> None:
    with start(dev(tmp_path, kafka_bootstrap, postgres_dsn)) as process:
        shown = read_until(process, "Ctrl-C")
        commands = [words for words in printed_commands(shown) if "orchestrator" in words]
        tried = {words[3]: run_printed(words, tmp_path) for words in commands}
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)

    assert process.returncode == 0, shown
    assert "published 5 tasks" in shown
    assert list(tried) == ["status", "task", "tail", "dlq"]
    assert len(commands) == 5
    assert '"kind": "completed"' in tried["tail"]
    assert "DECODE_FAILED" in tried["dlq"]
    assert not (tmp_path / "running.json").exists()


def test_a_later_start_creates_no_demonstration_and_a_killed_one_is_known_to_have_ended(
    tmp_path: Path, kafka_bootstrap: str, postgres_dsn: str
) -> None:
    environment = dev(tmp_path, kafka_bootstrap, postgres_dsn)
    for arguments in (["--no-demo"], []):
        with start(environment, *arguments) as process:
            shown = read_until(process, "Ctrl-C")
            process.kill()
        assert "published" not in shown
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "status"],
        env={**kept, "ORCH_EMBEDDED_DATA_DIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[:1] == [
        f"{tmp_path / 'running.json'} is ignored: its process {process.pid} has ended"
    ]
    assert "error SETTINGS_INVALID: ORCH_KAFKA_BOOTSTRAP and ORCH_" in ended.stderr


def test_a_demonstration_is_not_both_asked_for_and_left_out() -> None:
    ended = run_command(["dev", "--once", "--no-demo"], {})

    assert ended.status == 2
    assert "--no-demo" in ended.err


def read_until(process: "subprocess.Popen[str]", word: str) -> str:
    """What it prints up to the line with this word."""
    assert process.stdout is not None
    shown = []
    for line in process.stdout:
        shown.append(line)
        if word in line:
            break
    return "".join(shown)
