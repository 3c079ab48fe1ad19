"""The level of a running process changes by a signal; the lines of a process name its role."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

# It logs a line at each level for each line that it reads, with a logger that wrote before.
pytestmark = pytest.mark.slow

PROGRAM = """
import sys
import structlog
from orchestrator.log_level import switch_level_on_signal
from orchestrator.logs import LogSettings, set_up_logs
set_up_logs(LogSettings(level=sys.argv[1]), role="router")
switch_level_on_signal(sys.argv[1])
log = structlog.get_logger("ours")
log.error("ready")
for line in sys.stdin:
    log.debug("fine")
    log.info("coarse")
    log.error("end")
"""


class Logging:
    """A process that logs when it is asked to."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.line()

    def line(self) -> dict[str, Any]:
        assert self._process.stderr is not None
        found: dict[str, Any] = json.loads(self._process.stderr.readline())
        return found

    def lines(self) -> list[str]:
        """The events that it logs now."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        events: list[str] = []
        while not events or events[-1] != "end":
            events.append(self.line()["event"])
        return events[:-1]

    def signal(self) -> dict[str, Any]:
        """Send SIGUSR1; the line that says what it did."""
        os.kill(self._process.pid, signal.SIGUSR1)
        return self.line()


@contextmanager
def logging_at(level: str) -> Iterator[Logging]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, level],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Logging(process)
    finally:
        process.kill()
        process.communicate(timeout=20)


@pytest.mark.parametrize(
    ("level", "usual", "other", "in_other"),
    [
        ("info", ["coarse"], "debug", ["fine", "coarse"]),
        ("error", [], "debug", ["fine", "coarse"]),
        ("debug", ["fine", "coarse"], "info", ["coarse"]),
    ],
)
def test_a_signal_switches_the_level_and_the_next_one_switches_back(
    level: str, usual: list[str], other: str, in_other: list[str]
) -> None:
    with logging_at(level) as process:
        before = process.lines()
        there = process.signal()
        changed = process.lines()
        back = process.signal()
        after = process.lines()

    assert (before, changed, after) == (usual, in_other, usual)
    assert (there["event"], there["new_level"], back["new_level"]) == (
        "log_level_changed",
        other,
        level,
    )
    assert there["role"] == "router"


def test_a_signal_during_the_start_and_to_a_command_ends_nothing() -> None:
    program = """
import os, signal, sys
from orchestrator import __main__ as program
program.check_packages = lambda: os.kill(os.getpid(), signal.SIGUSR1)
sys.argv = ["orchestrator", "worker", "--help"]
program.main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )

    assert (ended.returncode, "Usage" in ended.stdout) == (0, True), ended.stderr
