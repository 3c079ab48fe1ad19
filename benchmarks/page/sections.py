"""The tables of the page, each under the name by which the template asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.harness.names import FAIR, OURS, RAW
from benchmarks.page.bars import bars_table, earlier_bars_table
from benchmarks.page.markdown import NOT_MEASURED, source, table
from benchmarks.page.recorded import Engine, Recorded
from benchmarks.page.trend import trend_table


def section(name: str, recorded: Recorded) -> str:
    """A table with the line that says where it comes from.

    Raises:
        KeyError: there is no section of that name.
    """
    if name in _WITHOUT_A_SOURCE:
        return _WITHOUT_A_SOURCE[name](recorded)
    way = SECTIONS[name]
    found = recorded.file(name)
    return NOT_MEASURED if found is None else f"{source(found)}\n\n{way(recorded)}"


def _drain(recorded: Recorded) -> str:
    engines = recorded.engines("drain")
    return f"{_engines_table(engines)}\n\n{_cpu_table(engines)}"


def _variants(recorded: Recorded) -> str:
    """Drains of other work, a row for each engine, then where each variant comes from."""
    names = recorded.names("drain-")
    if not names:
        return NOT_MEASURED
    rows = [
        [name.removeprefix("drain-").replace("-", " "), *row]
        for name in names
        for row in _engine_rows(recorded.engines(name))
    ]
    sources = [source(found) for name in names if (found := recorded.file(name))]
    return "\n\n".join(["\n".join(sources), table(["work", *_engine_head()], rows)])


def _peers(recorded: Recorded) -> str:
    engines = recorded.engines("peers")
    ours = engines.get(OURS)
    head = [*_engine_head(floors=()), "our rate against it"]
    rows = _engine_rows(engines, floors=())
    for row, engine in zip(rows, engines.values(), strict=True):
        row.append("" if ours is None else f"{ours.rate.median / engine.rate.median:.3g} x")
    return table(head, rows)


_FLOORS = (RAW, FAIR)


def _engine_head(floors: Sequence[str] = _FLOORS) -> list[str]:
    parts = [f"of the {floor}" for floor in floors]
    costs = ["CPU s for 1,000 tasks", "tasks/s of one core", "largest process"]
    return ["engine", "tasks/s, median (min, max)", *parts, *costs]


def _engines_table(engines: dict[str, Engine]) -> str:
    return table(_engine_head(), _engine_rows(engines))


def _engine_rows(engines: dict[str, Engine], floors: Sequence[str] = _FLOORS) -> list[list[str]]:
    return [
        [
            engine.name,
            str(engine.rate),
            *(_part(engine, engines.get(floor)) for floor in floors),
            f"{engine.cpu_s:.2f}",
            f"{engine.per_core:,.0f}",
            engine.largest,
        ]
        for engine in engines.values()
    ]


def _part(engine: Engine, of: Engine | None) -> str:
    return "" if of is None else f"{engine.rate.median / of.rate.median * 100:.0f} %"


def _cpu_table(engines: dict[str, Engine]) -> str:
    return table(
        ["engine", "process", "CPU s for 1,000 tasks", "peak memory"],
        [
            [engine.name, process, f"{cpu:.3f}", _memory(engine, process)]
            for engine in engines.values()
            for process, cpu in sorted(engine.cpu.items(), key=lambda pair: -pair[1])
        ],
    )


def _memory(engine: Engine, process: str) -> str:
    peak = engine.peak_mib.get(process)
    return "" if peak is None else f"{peak:.0f} MiB"


def _steady(recorded: Recorded) -> str:
    figures = recorded.figures("steady") or {}
    rows = [
        [engine, f"{run['rate']:,}", *(f"{run[key]:,.1f}" for key in _QUANTILES), *_cpu_cells(run)]
        for engine, runs in figures["engines"].items()
        for run in runs
    ]
    quantiles = ["p50 ms", "p95 ms", "p99 ms", "max ms"]
    return table(["engine", "tasks/s", *quantiles, "CPU s for 1,000 tasks", "cores busy", ""], rows)


def _cpu_cells(run: Mapping[str, Any]) -> list[str]:
    """CPU seconds, how many cores that keeps busy, and why the rates go no further."""
    cpu_s = run.get("cpu_s")
    if cpu_s is None:
        return ["", "", run["end"]]
    return [f"{cpu_s:.1f}", f"{cpu_s * run['rate'] / 1000:.1f}", run["end"]]


_QUANTILES = ("p50_ms", "p95_ms", "p99_ms", "max_ms")


def _growth(recorded: Recorded) -> str:
    figures = recorded.figures("growth") or {}
    return table(
        [
            "rows before",
            "tasks created",
            "tasks/s, median (min, max)",
            "point read p99",
            "list p99",
        ],
        [
            [
                f"{size['rows']:,}",
                f"{figures['tasks']:,}",
                f"{size['rate_median']:,.0f} ({size['rate_min']:,.0f}, {size['rate_max']:,.0f})",
                f"{size['point_p99_ms']:.2f} ms",
                f"{size['list_p99_ms']:.2f} ms",
            ]
            for size in figures["sizes"]
        ],
    )


def _plain(name: str) -> Callable[[Recorded], str]:
    """A table that is in the file as it stands on the page; without one, its single figures."""

    def way(recorded: Recorded) -> str:
        figures = recorded.figures(name) or {}
        if "rows" in figures:
            return table(figures["head"], figures["rows"])
        single = {k: v for k, v in sorted(figures.items()) if isinstance(v, str | int | float)}
        return table(["", "measured"], list(single.items()))

    return way


_WITHOUT_A_SOURCE: dict[str, Callable[[Recorded], str]] = {
    "bars": bars_table,
    "earlier-bars": earlier_bars_table,
    "drain-variants": _variants,
    "trend": trend_table,
}
"""Made of several files."""

SECTIONS: dict[str, Callable[[Recorded], str]] = {
    "drain": _drain,
    "peers": _peers,
    "steady": _steady,
    "growth": _growth,
    "raw": _plain("raw"),
    "takeover": _plain("takeover"),
    "cancel": _plain("cancel"),
    "replay": _plain("replay"),
    "api": _plain("api"),
    "streaming": _plain("streaming"),
    "backlog": _plain("backlog"),
    "recover": _plain("recover"),
    "kills": _plain("kills"),
    "idle": _plain("idle"),
}
