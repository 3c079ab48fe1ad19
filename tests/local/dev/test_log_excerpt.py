"""What is said of a process that ended: its last error, not whatever it wrote last."""

import json

import pytest

from orchestrator.local.dev.log_excerpt import (
    EXCERPT_MAX,
    last_error,
    last_severe_line,
    why_ended,
)

STARTED = json.dumps({"event": "role_started", "level": "info"})
FAILED = json.dumps({"event": "process_fails", "level": "error", "reason": "commit failed"})
WAITING = json.dumps({"event": "waiting", "level": "warning", "code": "KAFKA_UNAVAILABLE"})
TRACEBACK = """\
Traceback (most recent call last):
  File "x.py", line 1, in <module>
    f()
ValueError: no such partition"""


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([STARTED, FAILED, WAITING, STARTED], "process_fails: commit failed"),
        ([FAILED, "error TOPICS_DIFFER: 3 topics are missing"], "error TOPICS_DIFFER: 3 topics"),
        ([STARTED, *TRACEBACK.splitlines(), STARTED], "ValueError: no such partition"),
        (
            [json.dumps({"event": "e", "level": "error", "exception": TRACEBACK}), STARTED],
            "e: ValueError: no such partition",
        ),
        ([STARTED, "Using config: x"], ""),
        ([STARTED, '{"event": "cut'], ""),
        ([], ""),
    ],
)
def test_the_last_error_of_a_process_is_found_among_its_lines(lines: list[str], error: str) -> None:
    found = last_error("\n".join(lines))

    assert found.startswith(error)
    assert bool(found) == bool(error)


@pytest.mark.parametrize(
    ("returncode", "log", "why"),
    [
        (1, FAILED, "process_fails: commit failed"),
        (-9, STARTED, "ended by SIGKILL"),
        (-99, "", "ended by signal 99"),
        (3, STARTED, "exit status 3, and no error in its log"),
    ],
)
def test_the_end_of_a_process_always_has_a_reason(returncode: int, log: str, why: str) -> None:
    assert why_ended(returncode, log) == why


def test_an_error_with_a_code_is_said_with_it() -> None:
    line = json.dumps(
        {"event": "e", "level": "critical", "code": "LOG_TRIMMED", "reason": "since 5"}
    )

    assert last_error(line) == "e: LOG_TRIMMED: since 5"


def test_an_excerpt_is_one_short_line() -> None:
    line = json.dumps({"event": "e", "level": "error", "reason": "x\n" * 900})

    assert len(last_error(line)) == EXCERPT_MAX
    assert "\n" not in last_error(line)


def test_the_line_of_a_server_that_says_why_it_ended_is_preferred_to_its_last_one() -> None:
    log = "LOG: ready\nFATAL:  lock file is gone\nLOG: shut down\n"

    assert last_severe_line(log) == "FATAL: lock file is gone"
    assert last_severe_line("LOG: ready\nLOG: shut down") == "LOG: shut down"
    assert last_severe_line("") == ""
