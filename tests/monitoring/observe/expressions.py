"""Every expression of the dashboards and of the rule files. Pure but for reading the files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

DASHBOARDS = Path("deploy/grafana")
RULES = Path("deploy/prometheus")
_THRESHOLD = re.compile(r"\s(==|!=|>=|<=|>|<)\s*[\d.]+(\s*\*\s*[\d.]+)?")
_OFFSET = re.compile(r"offset \d+[smhd]")
_VARIABLES = {"$__rate_interval": "30s", "$__range": "10m", "$type": ".*", "$tenant": ".*"}


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression, and who uses it."""

    source: str
    """``dashboard``, ``rule`` or ``alert``."""
    name: str
    """The dashboard and the title of the panel, or the name of the rule."""
    text: str
    """As Prometheus takes it."""


def all_expressions() -> list[Expression]:
    """In the order of the files."""
    return [*of_dashboards(), *of_rules()]


def of_dashboards() -> Iterator[Expression]:
    """The queries of all panels, with their variables as Grafana fills them in."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            for target in panel["targets"]:
                ref = f" {target['refId']}" if len(panel["targets"]) > 1 else ""
                name = f"{path.stem}: {panel['title']}{ref}"
                yield Expression("dashboard", name, filled(target["expr"]))


def of_rules() -> Iterator[Expression]:
    """The expressions of all rules."""
    for path in sorted(RULES.glob("*.yaml")):
        document = yaml.safe_load(path.read_text("utf-8"))
        for group in document.get("groups", ()):
            for rule in group["rules"]:
                source = "alert" if "alert" in rule else "rule"
                name = rule.get("alert") or rule["record"]
                percentile = rule.get("labels", {}).get("p") if source == "rule" else None
                yield Expression(
                    source, f"p{percentile} {name}" if percentile else name, rule["expr"].strip()
                )


def filled(text: str) -> str:
    """An expression whose variables have values.

    Raises:
        ValueError: it has a variable that is not known here.
    """
    for variable, value in _VARIABLES.items():
        text = text.replace(variable, value)
    if "$" in text:
        raise ValueError(f"an unknown variable: {text}")
    return text


def without_thresholds(alert: str) -> str:
    """An alert's expression that returns data as long as there is something to compare.

    What it compares with is left out, and what it looks back at is seconds ago, so that a mistake
    in its names, labels or matching is found without the trouble that it waits for.
    """
    return _OFFSET.sub("offset 10s", _THRESHOLD.sub(" ", alert))
