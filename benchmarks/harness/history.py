"""What each recording measured, one line of JSON each: ``benchmarks/figures/history.jsonl``.

A line holds ``date`` (UTC), ``commit`` (with ``+`` if the code was changed after it), ``machine``,
``program`` (the name of its file) and ``figures``, those of :mod:`benchmarks.harness.key_figures`.
Lines are only appended. Figures of different days or machines are not to be compared unless they
are ratios.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.key_figures import key_figures

NAME = "history.jsonl"
_MADE_BY_RECORDING = (":!benchmarks/figures", ":!docs")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    date: str
    commit: str
    machine: str
    program: str
    figures: Mapping[str, float]


def entry_of(name: str, written: Mapping[str, Any], commit: str) -> Entry | None:
    """The line of a recorded file; None: it holds no key figure."""
    found = key_figures(name, written["figures"])
    if not found:
        return None
    rounded = {key: float(f"{value:.4g}") for key, value in found.items()}
    return Entry(written["date"], commit, written["machine"], name, rounded)


def append(entry: Entry, folder: Path) -> None:
    """Add a line."""
    with (folder / NAME).open("a", encoding="utf-8") as file:
        print(json.dumps(asdict(entry), sort_keys=True), file=file)


def read(folder: Path) -> Sequence[Entry]:
    """All lines, in their order; none without a file."""
    path = folder / NAME
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [Entry(**json.loads(line)) for line in lines]


def commit_here() -> str:
    """The commit of this tree, with ``+`` if its code differs from it; empty without git."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", ".", *_MADE_BY_RECORDING)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}+" if changed else commit


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, check=True, text=True)
    return done.stdout.strip()
