"""The bars: what has to be reached, by ratios in one run, and whether it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.harness import key_figures as keys
from benchmarks.harness.key_figures import KeyFigure
from benchmarks.page.markdown import table
from benchmarks.page.recorded import Recorded

_SHOWN_PARTS = 3
HEAD = ("what", "bar", "stretch", "measured", "", "where the time goes")


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar and the figure that it is about."""

    what: str
    figure: KeyFigure
    bar: float
    stretch: float | None = None
    unit: str = "x"
    at_most: bool = False
    """Less is better."""

    def row(self, recorded: Recorded) -> list[str]:
        figures = recorded.figures(self.figure.file) or {}
        measured = self.figure.of(figures)
        stretch = "" if self.stretch is None else self._rule(self.stretch)
        if measured is None:
            return [self.what, self._rule(self.bar), stretch, "", "not measured", ""]
        return [
            self.what,
            self._rule(self.bar),
            stretch,
            _amount(measured, self.unit),
            self.verdict(measured),
            shares(self.figure.parts(figures)),
        ]

    def verdict(self, measured: float) -> str:
        """``met``, or by which part of the bar it is missed."""
        if not self._reaches(measured, self.bar):
            side = "above" if self.at_most else "below"
            return f"**missed**, {_amount(abs(measured - self.bar) / self.bar, '%')} {side} it"
        if self.stretch is None:
            return "met"
        return "met, stretch too" if self._reaches(measured, self.stretch) else "met"

    def _reaches(self, measured: float, bar: float) -> bool:
        return measured <= bar if self.at_most else measured >= bar

    def _rule(self, bar: float) -> str:
        return f"at {'most' if self.at_most else 'least'} {_amount(bar, self.unit)}"


def shares(parts: Mapping[str, float]) -> str:
    """The processes with the most of a sum, each with its part of it."""
    whole = sum(parts.values())
    most = sorted(parts, key=lambda name: -parts[name])[:_SHOWN_PARTS]
    return ", ".join(f"{name} {_amount(parts[name] / whole, '%')}" for name in most)


def _amount(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.0%}".replace("%", " %")
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def bars_table(recorded: Recorded) -> str:
    """Every bar as a row."""
    return table(HEAD, [bar.row(recorded) for bar in BARS])


def earlier_bars_table(recorded: Recorded) -> str:
    """Every earlier bar as a row."""
    return table(HEAD, [bar.row(recorded) for bar in EARLIER])


def _most(
    what: str, figure: KeyFigure, bar: float, stretch: float | None = None, *, unit: str = "x"
) -> Bar:
    return Bar(what, figure, bar, stretch, unit, at_most=True)


BARS = (
    _most("drain: CPU seconds for 1,000 tasks", keys.DRAIN_CPU, 0.85, 0.65, unit="s"),
    Bar("drain: rate, of the fair floor's", keys.DRAIN_OF_FAIR, 0.6, 0.75, "%"),
    _most("50/s: CPU seconds for 1,000 tasks", keys.AT_50_CPU, 17, 15, unit="s"),
    _most("50/s: p50, of the raw chain's", keys.AT_50_P50, 1.6, 1.3),
    _most("50/s: p99, of the raw chain's", keys.AT_50_P99, 2.5, 2),
    _most("200/s: p50, of the raw chain's", keys.AT_200_P50, 2.2, 1.6),
    Bar("drain, against PgQueuer, two chained jobs", keys.AGAINST_PGQUEUER, 1.5, 2),
    Bar("drain, against Restate", keys.AGAINST_RESTATE, 2, 3),
    Bar("drain, against Celery with Redis", keys.AGAINST_CELERY_REDIS, 3.2, 4),
    _most("`make run`, idle", keys.IDLE, 0.12, 0.08, unit="cores"),
    Bar("160 KB documents: rate, of the raw chain's", keys.LARGE_OF_RAW, 0.65, 0.8, "%"),
    _most("160 KB documents: largest process", keys.LARGE_MEMORY, 200, unit="MiB"),
    Bar(
        "`CreateTask` at 64 callers, of an echo that awaits one produce",
        keys.CREATE_OF_ECHO,
        0.65,
        0.8,
        "%",
    ),
    _most("create-and-execute, p50, of four hops", keys.EXECUTE_OF_HOPS, 1.7, 1.4),
    Bar("backlog of 1,000,000: rate, of that of 10,000", keys.BACKLOG_RATE, 0.92, 0.97, "%"),
    _most(
        "backlog of 1,000,000: memory of any process at the end, of that at a tenth",
        keys.BACKLOG_GROWTH,
        1.05,
    ),
    _most("takeover, 1,000,000 events behind the checkpoint", keys.TAKEOVER, 22, unit="s"),
)

EARLIER = (
    Bar("drain, of the raw chain's rate", keys.DRAIN_OF_RAW, 0.5, 0.7, "%"),
    Bar("drain, against DBOS", keys.AGAINST_DBOS, 20, 35),
    Bar("drain, against Celery with Postgres results", keys.AGAINST_CELERY_POSTGRES, 12, 20),
    Bar("drain, against Procrastinate", keys.AGAINST_PROCRASTINATE, 12, 20),
    Bar("drain, against Temporal", keys.AGAINST_TEMPORAL, 15, 30),
    Bar("drain, against plain Faust agents, same hops", keys.DRAIN_AGAINST_FAUST, 4, 8),
    Bar("rate at 1,000,000 rows, of that at 1,000", keys.GROWTH_RATE, 0.9, 0.95, "%"),
    _most("point read at 1,000,000 rows, p99, of that at 1,000", keys.GROWTH_READ, 1.5),
    _most("largest process at a backlog of 1,000,000", keys.BACKLOG_PEAK, 250, unit="MB"),
    _most(
        "one of two workers killed: first progress, after the session timeout",
        keys.PROGRESS,
        2,
        unit="s",
    ),
    _most(
        "one of two workers killed: drained, after the drain without a kill",
        keys.DRAINED_LATER,
        10,
        unit="s",
    ),
)
"""Those that no newer bar is about."""
