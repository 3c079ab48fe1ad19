"""What is kept of each recording, and when a drain is called dearer than the committed one."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.figures import load, record
from benchmarks.harness.history import Entry, append, entry_of, read
from benchmarks.harness.key_figures import ALL, key_figures
from benchmarks.harness.regression import Regression, regression


def engines(**cpu_s: float) -> dict[str, Any]:
    return {"engines": {name.replace("_", " "): {"cpu_s": cpu} for name, cpu in cpu_s.items()}}


def test_each_recording_adds_a_line_and_replaces_its_file(tmp_path: Path) -> None:
    for rate in (0.5, 0.9):
        record("recover", {"drained_later_s": rate}, packages=(), folder=tmp_path)

    assert [line.figures for line in read(tmp_path)] == [
        {"kill_drained_later_s": 0.5},
        {"kill_drained_later_s": 0.9},
    ]
    assert (load("recover", tmp_path) or {})["figures"] == {"drained_later_s": 0.9}


def test_a_recording_without_a_key_figure_adds_no_line(tmp_path: Path) -> None:
    record("raw", {"rows": []}, packages=(), folder=tmp_path)

    assert read(tmp_path) == []


def test_a_line_is_read_as_it_was_written(tmp_path: Path) -> None:
    entry = Entry("2026-11-30", "abc+", "m", "idle", {"idle_cores": 0.1})

    append(entry, tmp_path)

    assert read(tmp_path) == [entry]


def test_a_line_has_four_digits_of_a_figure() -> None:
    written = {"date": "d", "machine": "m", "figures": {"cores": 0.123456}}

    entry = entry_of("idle", written, "abc")

    assert entry == Entry("d", "abc", "m", "idle", {"idle_cores": 0.1235})


def test_no_two_key_figures_have_one_name() -> None:
    assert len({key.name for key in ALL}) == len(ALL) > 30


@pytest.mark.parametrize("key", ALL, ids=lambda key: key.name)
def test_what_was_not_recorded_is_no_figure(key: Any) -> None:
    assert key.of({}) is None
    assert key.of({"engines": {}, "sizes": [], "rows": []}) is None


def test_ratios_and_numbers_are_read_from_the_rows_of_a_table() -> None:
    rows = [
        ["`CreateTask` at concurrency 64", "1,028/s", "2,953/s", "35%", "60 %"],
        ["create-and-execute, one no-op step, p50", "19.3 ms", "6.7 ms", "2.86 x", "1.5 x"],
    ]

    assert key_figures("api", {"rows": rows}) == {
        "create_of_echo": 0.35,
        "execute_p50_of_hops": 2.86,
    }


@pytest.mark.parametrize(
    ("ours", "raw", "warns"),
    [
        pytest.param(1.0, 0.25, False, id="as committed"),
        pytest.param(2.0, 0.5, False, id="a slower machine slows the raw chain down, too"),
        pytest.param(1.14, 0.25, False, id="14 % more"),
        pytest.param(1.16, 0.25, True, id="16 % more"),
        pytest.param(0.6, 0.125, True, id="a faster machine hides no growth"),
    ],
)
def test_a_drain_warns_above_15_percent_more_cpu_by_the_raw_chains(
    ours: float, raw: float, warns: bool
) -> None:
    kept = engines(orchestrator=1.0, raw_chain=0.25)

    found = regression(engines(orchestrator=ours, raw_chain=raw), kept)

    assert found is not None
    assert found.warns is warns


def test_a_comparison_says_what_the_committed_drain_would_cost_here() -> None:
    kept = engines(orchestrator=1.0, raw_chain=0.25)

    found = regression(engines(orchestrator=3.0, raw_chain=0.5), kept)

    assert found == Regression(now=6.0, kept=4.0, expected_s=2.0, found_s=3.0)
    assert found.worse_by == 0.5


def test_a_drain_without_the_raw_chain_is_not_compared() -> None:
    assert regression(engines(orchestrator=1.0), engines(orchestrator=1.0)) is None


def test_the_committed_lines_are_sound() -> None:
    folder = Path("benchmarks/figures")

    for line in (folder / "history.jsonl").read_text("utf-8").splitlines():
        entry = Entry(**json.loads(line))
        names = {key.name for key in ALL if key.file == entry.program}
        assert entry.figures
        assert entry.figures.keys() <= names
