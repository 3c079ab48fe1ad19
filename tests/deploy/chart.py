"""The Helm chart and its value files, as they are read: without Helm."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

HELM = Path("deploy/helm")
CHART = HELM / "ai-orchestrator"
SMALL, PRODUCTION, EXTERNAL_KAFKA = (
    HELM / name for name in ("small.yaml", "production.yaml", "external-kafka.yaml")
)
VALUE_FILES = (SMALL, PRODUCTION, EXTERNAL_KAFKA)
EVERYTHING = Path("tests/deploy/everything.yaml")
"""Every value that is empty otherwise."""

Values = dict[str, Any]


@cache
def defaults() -> Values:
    """The chart's own values."""
    found: Values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    return found


def values_of(path: Path) -> Values:
    """The values of a file over those of the chart, as Helm merges them."""
    return _merged(defaults(), yaml.safe_load(path.read_text("utf-8")))


def _merged(base: Values, over: Values) -> Values:
    found = dict(base)
    for name, value in over.items():
        inner = found.get(name)
        if isinstance(value, dict) and isinstance(inner, dict):
            value = _merged(inner, value)
        found[name] = value
    # Helm takes null for "not set".
    return {name: value for name, value in found.items() if value is not None}


def step_values(values: Values, step: str) -> Values:
    """The values of a step, over those that it has in common with all steps."""
    return _merged(values["stepDefaults"], values["steps"][step] or {})
