"""A process that cannot end is ended, with the code of its result."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_HANGS = """
import threading
from streams.forced_end import exit_after
exit_after(0.2, code=7)
threading.Event().wait()
"""
_ENDS = """
from streams.forced_end import exit_after
exit_after(3600, code=7).cancel()
"""


def test_a_process_that_hangs_ends_with_the_code_that_its_run_had() -> None:
    ended = subprocess.run([sys.executable, "-c", _HANGS], timeout=60, check=False)

    assert ended.returncode == 7


def test_a_process_that_is_ended_by_force_leaves_no_target_behind(tmp_path: Path) -> None:
    program = f"""
import os, threading
from pathlib import Path
from orchestrator.monitoring.target import written_target
from streams.forced_end import before_forced_end, exit_after
hangs = threading.Event().wait
with (
    before_forced_end(hangs if os.environ.get("HANGS") else lambda: 1 / 0),
    written_target(Path({str(tmp_path)!r}), "127.0.0.1:1", role="router", process="router"),
):
    print(os.listdir({str(tmp_path)!r}))
    exit_after(0.2, code=7)
    hangs()
"""
    for more in ({}, {"HANGS": "1"}):
        ended = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **more},
            timeout=60,
            check=False,
            capture_output=True,
            text=True,
        )

        assert ended.returncode == 7
        assert "['router.json']" in ended.stdout
        assert list(tmp_path.iterdir()) == []


def test_a_process_that_ends_in_time_is_not_ended_by_force() -> None:
    ended = subprocess.run([sys.executable, "-c", _ENDS], timeout=60, check=False)

    assert ended.returncode == 0


def test_a_further_signal_does_not_change_how_an_ending_process_ends() -> None:
    program = """
import os, signal
from streams.stop_signals import ignore_stops
ignore_stops()
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGINT)
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)

    assert ended.returncode == 0
