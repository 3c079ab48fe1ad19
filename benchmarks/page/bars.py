"""The bars: what has to be reached, by ratios in one run, and whether it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.page.markdown import table
from benchmarks.page.recorded import OURS, RAW, Recorded

_MB_PER_MIB = 2**20 / 10**6
_LARGE_BACKLOG = 1_000_000


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar and how it is measured."""

    what: str
    bar: float
    measure: Callable[[Recorded], float | None]
    """None: there are no figures for it."""
    stretch: float | None = None
    unit: str = "x"
    at_most: bool = False
    """Less is better."""

    def row(self, recorded: Recorded) -> list[str]:
        measured = self.measure(recorded)
        stretch = "" if self.stretch is None else self._rule(self.stretch)
        if measured is None:
            return [self.what, self._rule(self.bar), stretch, "", "not measured"]
        return [
            self.what,
            self._rule(self.bar),
            stretch,
            _amount(measured, self.unit),
            self.verdict(measured),
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


def _amount(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.0%}".replace("%", " %")
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def bars_table(recorded: Recorded) -> str:
    """Every bar as a row."""
    head = ("what", "bar", "stretch", "measured", "")
    return table(head, [bar.row(recorded) for bar in BARS])


def _against(peer: str, name: str = "peers") -> Callable[[Recorded], float | None]:
    """Our rate as a multiple of a peer's, in whichever of its settings it is fastest."""

    def measure(recorded: Recorded) -> float | None:
        engines = recorded.engines(name)
        rates = [e.rate.median for key, e in engines.items() if key.startswith(peer)]
        ours = engines.get(OURS)
        return None if ours is None or not rates else ours.rate.median / max(rates)

    return measure


def _cpu(recorded: Recorded) -> float | None:
    ours = recorded.engines("drain").get(OURS)
    return None if ours is None else ours.cpu_s


def _latency(quantile: str) -> Callable[[Recorded], float | None]:
    def measure(recorded: Recorded) -> float | None:
        found = recorded.figures("steady")
        if found is None:
            return None
        at_50 = {
            engine: next((run[quantile] for run in runs if run["rate"] == 50), None)
            for engine, runs in found["engines"].items()
        }
        raw, ours = at_50.get(RAW), at_50.get(OURS)
        return None if raw is None or ours is None else float(ours / raw)

    return measure


def _growth(what: str) -> Callable[[Recorded], float | None]:
    """What was measured at 1,000,000 rows as a multiple of that at 1,000."""

    def measure(recorded: Recorded) -> float | None:
        found = recorded.figures("growth")
        sizes = {size["rows"]: size for size in found["sizes"]} if found else {}
        if 1_000 not in sizes or 1_000_000 not in sizes:
            return None
        return float(sizes[1_000_000][what] / sizes[1_000][what])

    return measure


def _figure(name: str, key: str, factor: float = 1.0) -> Callable[[Recorded], float | None]:
    def measure(recorded: Recorded) -> float | None:
        value = (recorded.figures(name) or {}).get(key)
        return None if value is None else float(value) * factor

    return measure


def _backlog(key: str, factor: float = 1.0) -> Callable[[Recorded], float | None]:
    """Of a backlog that is as large as the bar says; a smaller one only has its table."""

    def measure(recorded: Recorded) -> float | None:
        tasks = (recorded.figures("backlog") or {}).get("tasks", 0)
        return _figure("backlog", key, factor)(recorded) if tasks >= _LARGE_BACKLOG else None

    return measure


BARS = (
    Bar("drain, of the raw chain's rate", 0.5, _against(RAW, "drain"), 0.7, "%"),
    Bar("drain, against DBOS", 20, _against("DBOS"), 35),
    Bar("drain, against Celery with Redis", 8, _against("Celery, Redis"), 15),
    Bar("drain, against Celery with Postgres results", 12, _against("Celery, Postgres"), 20),
    Bar("drain, against Procrastinate", 12, _against("Procrastinate"), 20),
    Bar("drain, against Restate", 6, _against("Restate"), 12),
    Bar("drain, against PgQueuer, two chained jobs", 1.5, _against("PgQueuer"), 3),
    Bar("drain, against Temporal", 15, _against("Temporal"), 30),
    Bar("drain, against plain Faust agents, same hops", 4, _against("Faust", "drain"), 8),
    Bar("CPU seconds for 1,000 tasks in a drain, all processes", 1.0, _cpu, 0.75, "s", True),
    Bar("created to row at 50/s, p50, of the raw chain's", 2, _latency("p50_ms"), 1.5, "x", True),
    Bar("created to row at 50/s, p99, of the raw chain's", 3, _latency("p99_ms"), 2, "x", True),
    Bar("rate at 1,000,000 rows, of that at 1,000", 0.9, _growth("rate_median"), 0.95, "%"),
    Bar(
        "point read at 1,000,000 rows, p99, of that at 1,000",
        1.5,
        _growth("point_p99_ms"),
        None,
        "x",
        True,
    ),
    Bar(
        "rate at a backlog of 1,000,000, of that at 10,000",
        0.95,
        _backlog("rate_ratio"),
        None,
        "%",
    ),
    Bar(
        "largest process at a backlog of 1,000,000",
        250,
        _backlog("peak_mib", _MB_PER_MIB),
        None,
        "MB",
        True,
    ),
    Bar(
        "memory of any process at the end of it, of that at a tenth of it (flat)",
        1.1,
        _backlog("rss_growth"),
        None,
        "x",
        True,
    ),
    Bar(
        "one of two workers killed: first progress, after the session timeout",
        2,
        _figure("recover", "progress_after_session_s"),
        None,
        "s",
        True,
    ),
    Bar(
        "one of two workers killed: drained, after the drain without a kill",
        10,
        _figure("recover", "drained_later_s"),
        None,
        "s",
        True,
    ),
)
