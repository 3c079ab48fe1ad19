"""The rules for Prometheus and Alertmanager, and the tests of the rules, as they are read."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROMETHEUS = Path("deploy/prometheus")
RULES, ALERTS = PROMETHEUS / "rules.yaml", PROMETHEUS / "alerts.yaml"
ALERTMANAGER = Path("deploy/alertmanager/alertmanager.yaml")
TESTS = sorted(Path("tests/monitoring/rules").glob("*.yaml"))

Rule = dict[str, Any]
_WINDOW = re.compile(r"\[\w+\]|offset \w+")
_TEXT = re.compile(r'"[^"]*"')
_SELECTOR = re.compile(r"([a-zA-Z_][\w:]*) *\{([^}]*)\}")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring) *\(([^)]*)\)")
_NAME = re.compile(r"[a-zA-Z_:][\w:]*")
_LANGUAGE = frozenset(
    {
        *("and", "or", "unless", "by", "without", "on", "ignoring", "offset", "bool", "e"),
        *("sum", "max", "min", "count", "group", "topk", "vector", "time", "abs", "absent"),
        *(
            "rate",
            "increase",
            "changes",
            "histogram_quantile",
            "last_over_time",
            "quantile_over_time",
        ),
    }
)


@cache
def read(path: Path) -> Any:
    """The content of a YAML file."""
    return yaml.safe_load(path.read_text("utf-8"))


@cache
def rules() -> tuple[Rule, ...]:
    """All rules of both files, recording rules first."""
    groups = (group for path in (RULES, ALERTS) for group in read(path)["groups"])
    return tuple(rule for group in groups for rule in group["rules"])


def alerts() -> list[Rule]:
    """The rules that alert."""
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> dict[str, Rule]:
    """The rules that record, by the name of what they record; any one of several."""
    return {rule["record"]: rule for rule in rules() if "record" in rule}


def metrics_of(expression: str) -> frozenset[str]:
    """The metrics and recorded series of an expression."""
    bare = _TEXT.sub("", _WINDOW.sub("", expression))
    bare = re.sub(r"\{[^}]*\}", "", _GROUPING.sub("", bare))
    return frozenset(_NAME.findall(bare)) - _LANGUAGE


def matchers_of(expression: str) -> Iterator[tuple[str, str]]:
    """Each metric with a label by which an expression selects its series."""
    for metric, matchers in _SELECTOR.findall(_WINDOW.sub("", expression)):
        yield from (
            (metric, label) for label in re.findall(r"(\w+) *[=!]", _TEXT.sub("", matchers))
        )


def grouping_of(expression: str) -> frozenset[str]:
    """The labels by which an expression groups or joins."""
    found = _GROUPING.findall(expression)
    return frozenset(word for labels in found for word in re.findall(r"\w+", labels))


def expected() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Each test of an alert: its name, and the labels with which it fires; none: it does not."""
    for path in TESTS:
        for case in read(path)["tests"]:
            for check in case["promql_expr_test"]:
                found = re.fullmatch(r'ALERTS\{alertname="(\w+)", .*\}', check["expr"])
                if found:
                    yield found[1], [_labels(one["labels"]) for one in check["exp_samples"]]


def _labels(series: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', series))
