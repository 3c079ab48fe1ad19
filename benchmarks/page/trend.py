"""How the key figures went from recording to recording."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.harness import key_figures as keys
from benchmarks.harness.history import Entry
from benchmarks.page.bars import BARS, EARLIER
from benchmarks.page.markdown import NOT_MEASURED, table
from benchmarks.page.recorded import Recorded

_SHOWN = 6
"""Recordings of one figure, the newest ones."""
_FURTHER = {
    keys.DRAIN_CPU_OF_RAW.name: "drain: CPU seconds, of the raw chain's",
    keys.DRAIN_CPU_OF_FAIR.name: "drain: CPU seconds, of the fair floor's",
    keys.SMALL_CPU_OF_RAW.name: "`make bench-small`: CPU seconds, of the raw chain's",
    keys.LARGE_OF_FAIR.name: "160 KB documents: rate, of the fair floor's",
    keys.UNDER_KILLS_LOST.name: "under kills: lost tasks",
    keys.UNDER_KILLS_DOUBLED.name: "under kills: doubled rows and results",
    keys.UNDER_KILLS_SECOND_CALLS.name: "under kills: second calls",
    keys.UNDER_KILLS_RECOVERY.name: "under kills: p95 of recovery, s",
    keys.UNDER_KILLS_CANCEL.name: "under kills: p95 of a cancel, ms",
}


def trend_table(recorded: Recorded) -> str:
    """A row for each key figure that was ever recorded, oldest value first."""
    history = recorded.history()
    titles = {bar.figure.name: bar.what for bar in (*BARS, *EARLIER)} | _FURTHER
    rows = [
        [title, cell] for name, title in titles.items() if (cell := _values(name, history)) != ""
    ]
    head = ["what", "month-day of the recording: value, oldest first"]
    return table(head, rows) if rows else NOT_MEASURED


def _values(name: str, history: Sequence[Entry]) -> str:
    found = [(entry.date, entry.figures[name]) for entry in history if name in entry.figures]
    return " → ".join(f"{date[5:]}: {value:.3g}" for date, value in found[-_SHOWN:])
