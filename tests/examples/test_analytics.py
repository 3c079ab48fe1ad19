"""The examples of docs/analytics.md that need no other server, run as they are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.records import TaskEvent
from tests.examples.logs import filled, json_lines, run_example, told

PAGE = Path("docs/analytics.md").read_text("utf-8")

Filled = tuple[dict[str, str], list[TaskEvent]]


@pytest.fixture(scope="module")
def log(kafka_bootstrap: str) -> Filled:
    """Topics with tasks, and the events that count."""
    return filled(kafka_bootstrap)


def test_plain_aiokafka_reads_the_events_that_count_and_no_others(log: Filled) -> None:
    environment, events = log
    read = json_lines(run_example("read_events.py", environment))

    assert [(e["task_id"], e["sequence"], e["kind"]) for e in read] == told(events)


def test_a_reader_of_the_last_hour_finds_the_owner_before_it(log: Filled) -> None:
    environment, events = log

    assert len(json_lines(run_example("read_events.py", environment, "3600"))) == len(events)
    assert run_example("read_events.py", environment, "-3600") == ""


def test_a_reader_that_has_enough_ends_the_output_without_a_traceback(log: Filled) -> None:
    environment, _ = log
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-u", "examples/read_events.py"],
        env={**os.environ, **environment},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(writing)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_results_that_were_reported_twice_count_once(log: Filled) -> None:
    environment, _ = log
    counted = json_lines(run_example("step_results.py", environment))

    assert counted == [{"step": "retrieve", "failed": 1, "succeeded": 1, "duplicates": 1}]


def test_duckdb_turns_an_hour_of_the_log_into_a_table_of_cost_and_latency(log: Filled) -> None:
    environment, events = log
    costs, latency = _tables(run_example("cost_and_latency.py", environment))
    attempts = [event for event in events if event.step is not None]

    # type, model, tasks, attempts, wasted, input and output tokens, cost
    assert costs[0][:8] == [
        "rag",
        "small",
        "4",
        str(len(attempts)),
        "2",
        str(12 * len(attempts)),
        str(3 * len(attempts)),
        str(450 * len(attempts)),
    ]
    assert latency[0][:2] == ["rag", "4"]


def test_the_page_shows_the_acceptance_rule_as_it_is_tested() -> None:
    rule = Path("examples/accepted.py").read_text("utf-8")
    body = rule[rule.index("def accept") : rule.index("def prevail")].rstrip()

    assert body in PAGE
    assert len(body.splitlines()) <= 12


def test_the_page_names_every_example_and_each_is_there() -> None:
    named = set(re.findall(r"\(\.\./(examples/[\w.]+)\)", PAGE))

    assert named == {
        str(path)
        for path in Path("examples").iterdir()
        if path.is_file() and path.name not in ("publish_task.py",)
    }


def _tables(text: str) -> list[list[list[str]]]:
    """The rows of the tables that DuckDB printed."""
    tables: list[list[list[str]]] = []
    for line in text.splitlines():
        if line.startswith("┌"):
            tables.append([])
        elif line.startswith("│") and tables:
            tables[-1].append([cell.strip() for cell in line.strip("│").split("│")])
    return [[row for row in table[2:] if row] for table in tables]
