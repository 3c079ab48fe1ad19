"""What was measured, as files: ``benchmarks/figures/<name>.json``.

A program that is called with ``--record`` writes its figures here and adds a line to their history,
and ``benchmarks.page`` makes ``docs/benchmarks.md`` of these files alone. A file holds
``command``, ``machine``, ``versions``, ``date`` (UTC) and ``figures``; some hold a ``note`` for the
page.

Programs that measure engines share a shape, so that the page draws them alike::

    {"tasks": 20000, "rounds": 3,
     "engines": {<name>: {
         "rate": {"median": 325.0, "min": 285.0, "max": 345.0},   # tasks/s
         "cpu": {<process>: 1.58},      # CPU seconds for 1,000 tasks, median
         "cpu_s": 5.38,                 # of all processes, median; without it their sum
         "peak_mib": {<process>: 241.0}}}}

The raw chain is ``raw chain``, the fair floor ``fair floor``, this system ``orchestrator``. Another
engine's name begins with what the page calls it (``DBOS``, ``Celery, Redis``,
``Celery, Postgres``, ``Procrastinate``, ``PgQueuer``, ``Restate``, ``Temporal``, ``Faust``), and
its setting follows (``DBOS, tuned``). ``drain-<variant>`` are drains of other work than ``drain``.
Other programs give a table as it is on the page (``head``, ``rows``); their other keys are read by
the bars and by :mod:`benchmarks.harness.history`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness.history import append, commit_here, entry_of
from benchmarks.harness.machine import command, machine, versions

FOLDER = Path(__file__).parents[1] / "figures"
PACKAGES = ("aiokafka", "asyncpg", "fastavro", "faust-streaming", "grpcio", "msgspec", "uvloop")


def record(
    name: str,
    figures: Mapping[str, Any],
    *,
    packages: Sequence[str] = PACKAGES,
    folder: Path = FOLDER,
) -> None:
    """Write what this program measured, over what an earlier run did, and add it to the history.

    Args:
        name: of the file, without its ending.
        figures: numbers, texts, lists and mappings by texts.
        packages: those whose versions matter; they have to be installed here.
        folder: where the files are.
    """
    written: dict[str, Any] = {
        "command": command(),
        "machine": machine(),
        "versions": versions(*packages),
        "date": datetime.now(UTC).date().isoformat(),
        "figures": figures,
    }
    folder.mkdir(exist_ok=True)
    text = json.dumps(written, indent=2, sort_keys=True)
    (folder / f"{name}.json").write_text(text + "\n", "utf-8")
    if (entry := entry_of(name, written, commit_here())) is not None:
        append(entry, folder)


def load(name: str, folder: Path = FOLDER) -> dict[str, Any] | None:
    """The whole file (``["figures"]`` is what was measured); None: it was never measured."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found
