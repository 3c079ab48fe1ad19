"""Every alert is documented and tested in both directions; what its expression names exists."""

import re
import shlex
from itertools import chain
from pathlib import Path

import pytest
import typer

from orchestrator.api.tasks.explanation import Reason
from orchestrator.checks import CHECKS
from orchestrator.cli.app import app
from schemas.topics import Topics, dlq
from tests.monitoring.exported import exported_metrics
from tests.monitoring.rule_files import (
    ALERTMANAGER,
    Rule,
    alerts,
    expected,
    grouping_of,
    matchers_of,
    metrics_of,
    read,
    recorded,
    rules,
)
from tests.monitoring.runbook import RUNBOOK, anchor

TARGET = frozenset({"job", "role", "process", "instance"})
"""Labels that every scraped series has."""
FOREIGN = {
    "up": frozenset[str](),
    "process_start_time_seconds": frozenset[str](),
    "process_cpu_seconds_total": frozenset[str](),
}
"""Metrics of Prometheus itself and of its client."""
PAGE = RUNBOOK.read_text("utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
COMMANDS += re.findall(r"`(orchestrator [^`]+)`", PAGE)
EXPRESSIONS = [
    line
    for block in re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
SUFFIX = re.compile(r"_(bucket|sum|count)$")
_each_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda rule: rule["alert"])


def labels_of(metric: str) -> frozenset[str]:
    """The labels of the series of a metric or of a recording rule."""
    if metric in recorded():
        return labels_recorded(recorded()[metric])
    known = {**exported_metrics(), **FOREIGN}
    own = known.get(metric, known.get(SUFFIX.sub("", metric)))
    assert own is not None, f"no metric {metric}"
    return own | TARGET | ({"le"} if metric.endswith("_bucket") else frozenset())


def labels_recorded(rule: Rule) -> frozenset[str]:
    """By the first aggregation, which is the outermost one; the quantile takes ``le`` away."""
    expression, more = rule["expr"], frozenset(rule.get("labels", {}))
    if re.match(r"(max|sum) without", expression):
        metrics = metrics_of(expression)
        return frozenset(chain.from_iterable(map(labels_of, metrics))) - grouping_of(expression)
    if "by (" not in expression:
        return frozenset()
    quantile = expression.startswith("histogram_quantile")
    return more | grouping_of(expression) - ({"le"} if quantile else frozenset())


@pytest.mark.parametrize(
    "expression", dict.fromkeys([*(rule["expr"] for rule in rules()), *EXPRESSIONS])
)
def test_every_metric_and_label_of_an_expression_exists(expression: str) -> None:
    metrics = metrics_of(expression)

    assert metrics
    assert grouping_of(expression) <= frozenset(chain.from_iterable(map(labels_of, metrics)))
    assert [name for name, label in matchers_of(expression) if label not in labels_of(name)] == []


@pytest.mark.parametrize(
    "expression", dict.fromkeys([*(rule["expr"] for rule in rules()), *EXPRESSIONS])
)
def test_an_expression_finds_its_series_whatever_roles_a_process_has(expression: str) -> None:
    assert [label for _, label in matchers_of(expression) if label in {"role", "process"}] == []


@_each_alert
def test_an_alert_says_how_urgent_it_is_what_happens_and_where_to_read_on(alert: Rule) -> None:
    said = alert["annotations"]

    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert len(said["summary"]) < 80
    assert "$value" in said["description"]
    assert said["runbook_url"] == f"docs/runbook.md#{anchor(alert['alert'])}"


def test_every_alert_has_a_section_of_the_runbook_and_every_section_an_alert() -> None:
    sections = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)

    assert sections == list(dict.fromkeys(sections))
    assert sorted(sections) == sorted(rule["alert"] for rule in alerts())


@pytest.mark.parametrize("section", re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:])
def test_a_section_says_what_an_alert_means_and_what_to_do(section: str) -> None:
    assert "\nMeans: " in section or "\nLook at and do the same as" in section
    assert "\nDo: " in section or "\nLook at and do the same as" in section


@_each_alert
def test_an_alert_is_seen_to_fire_and_seen_not_to_fire(alert: Rule) -> None:
    tests = [firing for name, firing in expected() if name == alert["alert"]]

    assert any(tests)
    assert not all(tests)


@_each_alert
def test_an_alert_has_the_labels_that_its_texts_name(alert: Rule) -> None:
    fired = [one for name, firing in expected() if name == alert["alert"] for one in firing]
    named = set(re.findall(r"\$labels\.(\w+)", str(alert["annotations"])))

    assert [one for one in fired if not named <= one.keys()] == []


def test_what_an_alert_silences_exists() -> None:
    names = [rule["alert"] for rule in alerts()]
    matchers = [
        matcher
        for rule in read(ALERTMANAGER)["inhibit_rules"]
        for side in ("source_matchers", "target_matchers")
        for matcher in rule[side]
        if matcher.startswith("alertname")
    ]
    patterns = [re.fullmatch(r'alertname=~?"(.+)"', matcher) for matcher in matchers]

    assert len(matchers) == 2 * len(read(ALERTMANAGER)["inhibit_rules"])
    for pattern in patterns:
        assert pattern is not None
        assert any(re.fullmatch(pattern[1], name) for name in names), pattern[1]


def test_the_alert_about_old_letters_comes_before_kafka_deletes_them() -> None:
    [alert] = [rule for rule in alerts() if rule["alert"] == "OpenLettersNearEnd"]
    after_days = int(re.findall(r"> (\d+) \* 86400", alert["expr"])[0])
    kept_ms = [t.retention_ms or 0 for t in Topics().table([]) if t.name.startswith(dlq(""))]

    assert 3 <= min(kept_ms) / 86_400_000 - after_days <= 10


def test_the_runbook_says_what_to_do_for_every_reason_and_every_check() -> None:
    rows = set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE))

    assert set(Reason) <= rows
    assert {"DEADLINE_NEAR", "DEADLINE_PASSED", "SINK_BEHIND", "NO_SINK"} <= rows
    assert {check.about for check in CHECKS} <= rows


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_a_command_of_the_runbook_is_taken_as_it_stands(command: str) -> None:
    program, *words = shlex.split(command.replace("$TASK", "task_1"))
    found, context = typer.main.get_command(app), None

    assert program == "orchestrator"
    while hasattr(found, "list_commands") and words:
        context = typer.Context(found, parent=context)
        found, words = found.get_command(context, words[0]), words[1:]  # type: ignore[attr-defined]
        assert found is not None, command
    found.make_context(command, words, parent=context)


def test_the_tests_of_the_rules_are_all_read() -> None:
    assert {path.name for path in Path("tests/monitoring/rules").iterdir()} == {
        path.name for path in Path("tests/monitoring/rules").glob("*.yaml")
    }
