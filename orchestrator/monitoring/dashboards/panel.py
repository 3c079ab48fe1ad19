"""What a dashboard and a panel are made of. Pure."""

from dataclasses import dataclass
from enum import Enum


class Unit(Enum):
    """Units of values, by Grafana's names."""

    COUNT = "short"
    PER_SECOND = "cps"
    SECONDS = "s"
    SHARE = "percentunit"
    BYTES = "bytes"
    USD = "currencyUSD"
    USD_PER_HOUR = "suffix: USD/h"


class PanelKind(Enum):
    """Kinds of panels, by Grafana's names."""

    NUMBER = "stat"
    """One value for each series, coloured by its threshold."""
    LINES = "timeseries"
    """Values over time."""
    BARS = "bargauge"
    """One bar for each series, for rankings."""


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of a panel."""

    expression: str
    """In PromQL, with Grafana's variables."""
    legend: str = ""
    """The name of a series, with labels in ``{{ }}``; empty for one series that needs no name."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel."""

    title: str
    kind: PanelKind
    unit: Unit
    queries: tuple[Query, ...]
    description: str
    """What is shown, and which values call for action."""
    runbook: str
    """The anchor of its entry in ``docs/runbook.md``."""
    bad_from: float | None = None
    """The value from which it is red; None: the panel has no colours."""
    bad_below: bool = False
    """Red below ``bad_from``, not from it on."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A list at the head of a dashboard, to show some values of a label only."""

    name: str
    metric: str
    label: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard; the most important panels come first."""

    name: str
    """The name of its file, and the end of its id in Grafana."""
    title: str
    description: str
    panels: tuple[Panel, ...]
    choices: tuple[Choice, ...] = ()
