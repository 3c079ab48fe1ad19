"""The few figures that say how fast this system is: for the bars and for the history. Pure.

Each is told from what one program recorded (:mod:`benchmarks.harness.figures`), so that both say
the same. A figure that the file does not hold is None: an older program recorded less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.harness.names import FAIR, OURS, RAW

MILLION = 1_000_000
_MB_PER_MIB = 2**20 / 10**6

Figures = Mapping[str, Any]
Measure = Callable[[Figures], float | None]
Parts = Callable[[Figures], Mapping[str, float]]


def _no_parts(_: Figures) -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One figure, and how it is told from the file that holds it."""

    name: str
    """In the history; never renamed."""
    file: str
    """Of which program: the name of its file."""
    of: Measure
    """None: the file does not hold it."""
    parts: Parts = field(default=_no_parts)
    """What it is made of, by process, in whatever unit; empty: not recorded."""


def key_figures(file: str, figures: Figures) -> dict[str, float]:
    """All that a program's figures hold, by name."""
    found = {key.name: key.of(figures) for key in ALL if key.file == file}
    return {name: value for name, value in found.items() if value is not None}


def _engine(figures: Figures, name: str) -> Figures:
    found: Figures = figures.get("engines", {}).get(name, {})
    return found


def _ratio(over: float | None, under: float | None) -> float | None:
    return None if over is None or not under else over / under


def cpu_s(engine: str) -> Measure:
    """CPU seconds for 1,000 tasks of all its processes."""

    def of(figures: Figures) -> float | None:
        found = _engine(figures, engine)
        return found["cpu_s"] if "cpu_s" in found else sum(found.get("cpu", {}).values()) or None

    return of


def _rate(figures: Figures, engine: str) -> float | None:
    found: float | None = _engine(figures, engine).get("rate", {}).get("median")
    return found


def rate_of(engine: str) -> Measure:
    """Our rate as a part of an engine's."""
    return lambda figures: _ratio(_rate(figures, OURS), _rate(figures, engine))


def cpu_of(engine: str) -> Measure:
    """Our CPU seconds as a multiple of an engine's in the same run."""
    return lambda figures: _ratio(cpu_s(OURS)(figures), cpu_s(engine)(figures))


def _against(peer: str) -> Measure:
    """Our rate as a multiple of a peer's, in whichever of its settings it is fastest."""

    def of(figures: Figures) -> float | None:
        names = [name for name in figures.get("engines", {}) if name.startswith(peer)]
        rates = [rate for name in names if (rate := _rate(figures, name))]
        return _ratio(_rate(figures, OURS), max(rates, default=None))

    return of


def _our_cpu(figures: Figures) -> Mapping[str, float]:
    found: Mapping[str, float] = _engine(figures, OURS).get("cpu", {})
    return found


def _largest(figures: Figures) -> float | None:
    """MiB of our largest process."""
    return max(_engine(figures, OURS).get("peak_mib", {}).values(), default=None)


def _at(rate: int, engine: str, figures: Figures) -> Figures:
    """What was measured of an engine at a rate of the open loop."""
    runs: Sequence[Figures] = figures.get("engines", {}).get(engine, [])
    return next((run for run in runs if run["rate"] == rate), {})


def _steady(rate: int, key: str, *, of: str | None = None) -> Measure:
    """Ours at a rate, or that as a multiple of an engine's."""

    def measure(figures: Figures) -> float | None:
        ours: float | None = _at(rate, OURS, figures).get(key)
        return ours if of is None else _ratio(ours, _at(rate, of, figures).get(key))

    return measure


def _steady_cpu(rate: int) -> Parts:
    return lambda figures: _at(rate, OURS, figures).get("cpu", {})


def _growth(key: str) -> Measure:
    """What was measured at 1,000,000 rows as a multiple of that at 1,000."""

    def of(figures: Figures) -> float | None:
        sizes = {size["rows"]: size for size in figures.get("sizes", ())}
        return _ratio(sizes.get(MILLION, {}).get(key), sizes.get(1_000, {}).get(key))

    return of


def _value(key: str, factor: float = 1.0) -> Measure:
    def of(figures: Figures) -> float | None:
        value = figures.get(key)
        return None if value is None else float(value) * factor

    return of


def _backlog(key: str, factor: float = 1.0) -> Measure:
    """Of a backlog of a million; a smaller one only has its table."""

    def of(figures: Figures) -> float | None:
        return _value(key, factor)(figures) if figures.get("tasks", 0) >= MILLION else None

    return of


def _cell(row: str, column: int) -> Measure:
    """A number in a row of the table that a file holds, found by how the row begins."""

    def of(figures: Figures) -> float | None:
        found = next((cells for cells in figures.get("rows", ()) if cells[0].startswith(row)), None)
        if found is None:
            return None
        text = str(found[column])
        number = float(text.rstrip(" x%").replace(",", ""))
        return number / 100 if text.endswith("%") else number

    return of


DRAIN_CPU = KeyFigure("drain_cpu_s", "drain", cpu_s(OURS), _our_cpu)
DRAIN_CPU_OF_RAW = KeyFigure("drain_cpu_of_raw", "drain", cpu_of(RAW), _our_cpu)
DRAIN_CPU_OF_FAIR = KeyFigure("drain_cpu_of_fair", "drain", cpu_of(FAIR), _our_cpu)
DRAIN_OF_FAIR = KeyFigure("drain_rate_of_fair", "drain", rate_of(FAIR), _our_cpu)
DRAIN_OF_RAW = KeyFigure("drain_rate_of_raw", "drain", rate_of(RAW), _our_cpu)
DRAIN_AGAINST_FAUST = KeyFigure("drain_against_faust", "drain", _against("Faust"))
SMALL_CPU_OF_RAW = KeyFigure("small_cpu_of_raw", "small", cpu_of(RAW), _our_cpu)
AT_50_CPU = KeyFigure("at_50_cpu_s", "steady", _steady(50, "cpu_s"), _steady_cpu(50))
AT_50_P50 = KeyFigure("at_50_p50_of_raw", "steady", _steady(50, "p50_ms", of=RAW))
AT_50_P99 = KeyFigure("at_50_p99_of_raw", "steady", _steady(50, "p99_ms", of=RAW))
AT_200_P50 = KeyFigure(
    "at_200_p50_of_raw", "steady", _steady(200, "p50_ms", of=RAW), _steady_cpu(200)
)
AGAINST_PGQUEUER = KeyFigure("against_pgqueuer", "peers", _against("PgQueuer"))
AGAINST_RESTATE = KeyFigure("against_restate", "peers", _against("Restate"))
AGAINST_CELERY_REDIS = KeyFigure("against_celery_redis", "peers", _against("Celery, Redis"))
AGAINST_CELERY_POSTGRES = KeyFigure(
    "against_celery_postgres", "peers", _against("Celery, Postgres")
)
AGAINST_DBOS = KeyFigure("against_dbos", "peers", _against("DBOS"))
AGAINST_PROCRASTINATE = KeyFigure("against_procrastinate", "peers", _against("Procrastinate"))
AGAINST_TEMPORAL = KeyFigure("against_temporal", "peers", _against("Temporal"))
IDLE = KeyFigure("idle_cores", "idle", _value("cores"), lambda f: f.get("by_process", {}))
LARGE_OF_RAW = KeyFigure("large_rate_of_raw", "drain-160-KB", rate_of(RAW), _our_cpu)
LARGE_OF_FAIR = KeyFigure("large_rate_of_fair", "drain-160-KB", rate_of(FAIR), _our_cpu)
LARGE_MEMORY = KeyFigure("large_peak_mib", "drain-160-KB", _largest)
CREATE_OF_ECHO = KeyFigure("create_of_echo", "api", _cell("`CreateTask` at concurrency", 3))
EXECUTE_OF_HOPS = KeyFigure("execute_p50_of_hops", "api", _cell("create-and-execute", 3))
BACKLOG_RATE = KeyFigure("backlog_rate", "backlog", _backlog("rate_ratio"))
BACKLOG_GROWTH = KeyFigure("backlog_memory_growth", "backlog", _backlog("rss_growth"))
BACKLOG_PEAK = KeyFigure("backlog_peak_mb", "backlog", _backlog("peak_mib", _MB_PER_MIB))
TAKEOVER = KeyFigure(
    "takeover_million_s", "takeover", _cell("the snapshots, and 1,000,000 events", 1)
)
GROWTH_RATE = KeyFigure("growth_rate", "growth", _growth("rate_median"))
GROWTH_READ = KeyFigure("growth_point_read", "growth", _growth("point_p99_ms"))
PROGRESS = KeyFigure("kill_progress_s", "recover", _value("progress_after_session_s"))
DRAINED_LATER = KeyFigure("kill_drained_later_s", "recover", _value("drained_later_s"))
UNDER_KILLS_LOST = KeyFigure("under_kills_lost", "kills", _value("lost"))
UNDER_KILLS_DOUBLED = KeyFigure("under_kills_doubled", "kills", _value("doubled"))
UNDER_KILLS_SECOND_CALLS = KeyFigure("under_kills_second_calls", "kills", _value("second_calls"))
UNDER_KILLS_RECOVERY = KeyFigure("under_kills_recovery_p95_s", "kills", _value("recovery_p95_s"))
UNDER_KILLS_CANCEL = KeyFigure("under_kills_cancel_p95_ms", "kills", _value("cancel_p95_ms"))

ALL = tuple(value for value in list(globals().values()) if isinstance(value, KeyFigure))
