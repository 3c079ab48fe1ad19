"""The expressions that `make observe` runs: all of them, filled in, and valid for promtool."""

import subprocess
from pathlib import Path

import pytest
import yaml

from orchestrator.monitoring.dashboards.table import DASHBOARDS
from tests.debian import PROMETHEUS, a_program
from tests.monitoring.observe.expressions import (
    Expression,
    all_expressions,
    filled,
    of_dashboards,
    of_rules,
    without_thresholds,
)
from tests.monitoring.observe.report import WIDTH, failures, lines
from tests.monitoring.observe.servers import hastened
from tests.monitoring.observe.sightings import Seen, Sighting
from tests.monitoring.observe.uncaused import UNCAUSED


@pytest.mark.prometheus
def test_promtool_accepts_every_expression(tmp_path: Path) -> None:
    expressions = all_expressions()
    texts = [one.text for one in expressions]
    texts += [without_thresholds(one.text) for one in expressions if one.source == "alert"]
    rules = [{"record": f"e:{number}", "expr": text} for number, text in enumerate(texts)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))

    promtool = a_program("promtool", PROMETHEUS)
    checked = subprocess.run(
        [promtool, "check", "rules", path], capture_output=True, text=True, timeout=60, check=False
    )

    assert checked.returncode == 0, checked.stderr


def test_every_panel_and_every_rule_is_run() -> None:
    queries = [query for board in DASHBOARDS for panel in board.panels for query in panel.queries]
    paths = Path("deploy/prometheus").glob("*.yaml")
    rules = sum(path.read_text("utf-8").count("expr:") for path in paths)

    assert len(list(of_dashboards())) == len(queries)
    assert len(list(of_rules())) == rules > 0


def test_what_stays_empty_is_an_expression_and_has_a_reason() -> None:
    names = {expression.name for expression in all_expressions()}

    assert UNCAUSED.keys() <= names
    assert all(len(reason) > 20 for reason in UNCAUSED.values())


def test_a_variable_that_is_not_known_is_an_error() -> None:
    assert filled("rate(x[$__rate_interval])") == "rate(x[30s])"
    with pytest.raises(ValueError, match="unknown variable"):
        filled('x{a="$unknown"}')


@pytest.mark.parametrize(
    ("alert", "left"),
    [
        ("a > 0.5", "a "),
        ("a >= 5 and b == 0", "a  and b "),
        ("max(a) > 25 * 86400", "max(a) "),
        ("a > 3 * (a offset 1d)", "a  * (a offset 10s)"),
        ('a{b="1",c=~"2"}', 'a{b="1",c=~"2"}'),
    ],
)
def test_thresholds_are_left_out_of_an_alert(alert: str, left: str) -> None:
    assert without_thresholds(alert) == left


def test_alerts_wait_for_seconds_and_rules_are_evaluated_at_once() -> None:
    rules = {
        "groups": [{"interval": "1m", "rules": [{"alert": "A", "for": "5m"}, {"record": "b"}]}]
    }

    assert hastened(rules) == {
        "groups": [{"rules": [{"alert": "A", "for": "5s"}, {"record": "b"}]}]
    }


def seen(name: str, seen: Seen, during: str = "sound") -> Sighting:
    return Sighting(Expression("dashboard", name, "x"), seen, 1.0, during)


def test_the_report_says_what_was_seen_when_and_fits_a_terminal() -> None:
    sightings = [
        seen("always", Seen.DATA),
        seen("sometimes", Seen.DATA, "a flood"),
        seen("a" * 100, Seen.COMPARED),
        seen("excused", Seen.ZERO),
        seen("empty", Seen.NOTHING),
    ]

    report = list(lines(sightings, {"excused": "cannot be caused here"}, alerts={"Down": "pages"}))

    assert max(map(len, report)) <= WIDTH
    assert report.index("Only when: a flood: 1") > report.index("Data while all is well: 1")
    assert report[report.index("MISSING: 1") + 1].endswith("empty")
    assert "  excused: cannot be caused here" in report
    assert "  Down (pages)" in report


def test_zeros_are_missing_unless_there_is_a_reason() -> None:
    sightings = [seen("a", Seen.ZERO), seen("b", Seen.NOTHING), seen("c", Seen.COMPARED)]

    assert [one.expression.name for one in failures(sightings, {"b": "a reason"})] == ["a"]
