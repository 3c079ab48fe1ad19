"""The plots of the page as SVG: the same figures make the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, StrMethodFormatter

from benchmarks.harness.names import FAIR, OURS, RAW
from benchmarks.page.recorded import Engine, Recorded

_STYLE: dict[Any, Any] = {
    # Ids in the file are drawn from this, not from chance.
    "svg.hashsalt": "benchmarks",
    # Text stays text: smaller, and the reader's font.
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_COLOURS = {OURS: "#1f77b4", RAW: "#7f7f7f", FAIR: "#2ca02c"}
_WIDTH_IN = 7.0


def plots(recorded: Recorded) -> dict[str, bytes]:
    """The plots for which there are figures, by the names of their files."""
    ways: dict[str, Callable[[Recorded], Figure | None]] = {
        "latency.svg": _latency,
        "cpu.svg": _cpu,
        "peers.svg": _peers,
    }
    found = {}
    with mpl.rc_context(_STYLE):
        for name, way in ways.items():
            if (figure := way(recorded)) is not None:
                found[name] = _svg(figure)
    return found


def _svg(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _latency(recorded: Recorded) -> Figure | None:
    found = recorded.figures("steady")
    if found is None:
        return None
    figure, axes = _axes(3.5)
    for engine, runs in found["engines"].items():
        rates = [run["rate"] for run in runs]
        for key, label, line in (("p50_ms", "p50", "-"), ("p99_ms", "p99", "--")):
            axes.plot(
                rates,
                [run[key] for run in runs],
                line,
                marker="o",
                markersize=3,
                color=_COLOURS.get(engine),
                label=f"{engine}, {label}",
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    rates = sorted({run["rate"] for runs in found["engines"].values() for run in runs})
    axes.set_xticks(rates, [f"{rate:,}" for rate in rates])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("tasks/s, Poisson arrivals")
    axes.set_ylabel("created to row, ms")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _cpu(recorded: Recorded) -> Figure | None:
    """One bar for each engine that was drained, its processes one after the other."""
    engines = [e for e in _drained(recorded) if e.cpu]
    if not engines:
        return None
    figure, axes = _axes(0.8 + 0.45 * len(engines))
    roles = list(dict.fromkeys(name for engine in engines for name in engine.cpu))
    colours = mpl.colormaps["tab20"]
    starts = [0.0] * len(engines)
    for number, role in enumerate(roles):
        widths = [engine.cpu.get(role, 0.0) for engine in engines]
        names = [engine.name for engine in engines]
        axes.barh(names, widths, left=starts, label=role, color=colours(number % 20))
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("CPU seconds for 1,000 tasks")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=7)
    return figure


def _drained(recorded: Recorded) -> Iterable[Engine]:
    """The engines of the drain, and those peers that are not among them."""
    engines = {**recorded.engines("peers"), **recorded.engines("drain")}
    return sorted(engines.values(), key=lambda engine: engine.cpu_s)


def _peers(recorded: Recorded) -> Figure | None:
    engines = list(recorded.engines("peers").values())
    if not engines:
        return None
    figure, axes = _axes(0.8 + 0.3 * len(engines))
    rates = [engine.rate for engine in engines]
    axes.barh(
        [engine.name for engine in engines],
        [rate.median for rate in rates],
        xerr=[[r.median - r.low for r in rates], [r.high - r.median for r in rates]],
        color=[_COLOURS[OURS] if engine.name == OURS else "#b0b0b0" for engine in engines],
    )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(left=1)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("tasks/s in a drain, median, min and max")
    return figure


def _axes(height_in: float) -> tuple[Figure, Axes]:
    # Not pyplot: it keeps every figure, and looks for a screen.
    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    return figure, figure.subplots()
