"""The page on benchmarks is made of recorded figures alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.history import Entry, append
from benchmarks.harness.key_figures import IDLE
from benchmarks.page.bars import BARS, EARLIER, Bar, bars_table, earlier_bars_table, shares
from benchmarks.page.recorded import Recorded
from benchmarks.page.render import DOCS, render

STAMP = {
    "command": "python -m x",
    "machine": "m",
    "versions": {"Python": "3"},
    "date": "2026-01-01",
}


def an_engine(rate: float, cpu_s: float) -> dict[str, Any]:
    return {
        "rate": {"median": rate, "min": rate - 1, "max": rate + 1},
        "cpu": {"router": cpu_s},
        "peak_mib": {"router": 50},
    }


def steady_runs(p50_ms: float, p99_ms: float) -> list[dict[str, Any]]:
    return [
        {
            "rate": rate,
            "p50_ms": p50_ms,
            "p95_ms": p99_ms,
            "p99_ms": p99_ms,
            "max_ms": 99,
            "end": "",
        }
        for rate in (50, 200)
    ]


def a_size(rows: int, rate: float, point_p99_ms: float) -> dict[str, float]:
    return {
        "rows": rows,
        "rate_median": rate,
        "rate_min": rate,
        "rate_max": rate,
        "point_p99_ms": point_p99_ms,
        "list_p99_ms": 2.0,
    }


FIGURES: dict[str, Any] = {
    "drain": {
        "engines": {
            "raw chain": an_engine(1000, 0.5),
            "fair floor": an_engine(500, 0.5),
            "orchestrator": an_engine(400, 0.85),
        }
    },
    "peers": {
        "engines": {
            "orchestrator": an_engine(400, 0.9),
            "DBOS": an_engine(5, 40),
            "DBOS, tuned": an_engine(16, 40),
        }
    },
    "steady": {"engines": {"raw chain": steady_runs(10, 20), "orchestrator": steady_runs(15, 100)}},
    "growth": {
        "tasks": 30_000,
        "sizes": [a_size(1_000, 100, 1.0), a_size(1_000_000, 92, 1.2)],
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, figures in FIGURES.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({**STAMP, "figures": figures}))
    return tmp_path


def page_of(folder: Path) -> str:
    return render(folder)["benchmarks.md"].decode()


def row_of(folder: Path, what: str) -> str:
    recorded = Recorded(folder)
    rows = [*bars_table(recorded).splitlines(), *earlier_bars_table(recorded).splitlines()]
    return next(row for row in rows if row.startswith(f"| {what} |"))


def test_the_page_holds_the_row_of_each_bar(folder: Path) -> None:
    page = page_of(folder).splitlines()

    assert [bar.what for bar in (*BARS, *EARLIER) if row_of(folder, bar.what) not in page] == []


@pytest.mark.parametrize("what", [bar.what for bar in (*BARS, *EARLIER)])
def test_a_bar_without_figures_was_not_measured(what: str, tmp_path: Path) -> None:
    assert row_of(tmp_path, what).endswith("| not measured |  |")


@pytest.mark.parametrize(
    ("tasks", "end"),
    [
        pytest.param(100_000, "| not measured |  |", id="too small to tell"),
        pytest.param(1_000_000, "| 95 % | met |  |"),
    ],
)
def test_a_backlog_counts_from_the_size_of_its_bar_on(tasks: int, end: str, folder: Path) -> None:
    figures = {"tasks": tasks, "rate_ratio": 0.95, "peak_mib": 90.0, "rss_growth": 1.0}
    (folder / "backlog.json").write_text(json.dumps({**STAMP, "figures": figures}))

    assert row_of(folder, "backlog of 1,000,000: rate, of that of 10,000").endswith(end)


@pytest.mark.parametrize(
    ("what", "end"),
    [
        pytest.param("drain, of the raw chain's rate", "40 % | **missed**, 20 % below it"),
        pytest.param("drain: rate, of the fair floor's", "80 % | met, stretch too"),
        pytest.param("drain, against DBOS", "25 x | met", id="the faster of its settings"),
        pytest.param("drain, against Restate", " | not measured"),
        pytest.param("drain: CPU seconds for 1,000 tasks", "0.85 s | met", id="at most"),
        pytest.param("50/s: p50, of the raw chain's", "1.5 x | met"),
        pytest.param("50/s: p99, of the raw chain's", "5 x | **missed**, 100 % above it"),
        pytest.param("rate at 1,000,000 rows, of that at 1,000", "92 % | met"),
        pytest.param("point read at 1,000,000 rows, p99, of that at 1,000", "1.2 x | met"),
    ],
)
def test_a_bar_says_whether_it_is_met_and_by_how_much_it_is_missed(
    what: str, end: str, folder: Path
) -> None:
    assert f"| {end} |" in row_of(folder, what)


def test_a_value_at_the_bar_meets_it() -> None:
    assert Bar("rate", IDLE, 2.0).verdict(2.0) == "met"
    assert Bar("time", IDLE, 2.0, at_most=True).verdict(2.0) == "met"


def test_a_bar_says_which_processes_its_figure_is_made_of(folder: Path) -> None:
    assert row_of(folder, "drain: CPU seconds for 1,000 tasks").endswith("| router 100 % |")
    assert shares({"a": 1, "b": 6, "c": 2, "d": 1}) == "b 60 %, c 20 %, a 10 %"


def test_the_page_shows_how_a_figure_went(folder: Path) -> None:
    for date, cores in (("2026-11-29", 0.34), ("2026-11-30", 0.12)):
        append(Entry(date, "abc", "m", "idle", {"idle_cores": cores}), folder)

    assert "| `make run`, idle | 11-29: 0.34 → 11-30: 0.12 |" in page_of(folder)


def test_the_same_figures_make_the_same_bytes(folder: Path) -> None:
    first = render(folder)

    assert set(first) == {
        "benchmarks.md",
        "benchmarks/cpu.svg",
        "benchmarks/latency.svg",
        "benchmarks/peers.svg",
    }
    assert render(folder) == first


def test_a_plot_without_figures_is_not_drawn(folder: Path) -> None:
    (folder / "steady.json").unlink()

    assert "benchmarks/latency.svg" not in render(folder)
    assert "benchmarks/latency.svg" not in page_of(folder)


def test_no_place_of_the_template_is_left(folder: Path) -> None:
    assert "{{" not in page_of(folder)


def test_the_committed_page_is_what_the_committed_figures_give() -> None:
    wanted = render()

    found = {name: (DOCS / name).read_bytes() for name in wanted}
    assert found == wanted, "run `make bench-page`"
    assert {f"benchmarks/{path.name}" for path in DOCS.glob("benchmarks/*.svg")} == {
        name for name in wanted if name.endswith(".svg")
    }
