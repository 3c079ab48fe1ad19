"""The files that the page is made of, and what the page needs of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.figures import load
from benchmarks.harness.history import Entry, read


@dataclass(frozen=True, slots=True)
class Spread:
    """Tasks/s of interleaved repetitions."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:,.0f} ({self.low:,.0f}, {self.high:,.0f})"


@dataclass(frozen=True, slots=True)
class Engine:
    """What was measured of one engine; the shape is that of :mod:`benchmarks.harness.figures`."""

    name: str
    rate: Spread
    cpu: Mapping[str, float]
    """CPU seconds for 1,000 tasks by process, the servers' included; medians."""
    cpu_s: float
    """Of all processes; the median of sums need not be the sum of medians."""
    peak_mib: Mapping[str, float]
    """The largest resident memory of each process."""

    @property
    def per_core(self) -> float:
        """Tasks for each second of a CPU: the rate of one core that does nothing else."""
        return 1_000 / self.cpu_s if self.cpu_s else 0.0

    @property
    def largest(self) -> str:
        """The process with the largest memory, with it."""
        name = max(self.peak_mib, key=lambda process: self.peak_mib[process], default="")
        return f"{name}, {self.peak_mib[name]:.0f} MiB" if name else ""


class Recorded:
    """All figures of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, name: str) -> dict[str, Any] | None:
        """A whole file, with its command and machine; None: never measured."""
        return load(name, self._folder)

    def figures(self, name: str) -> dict[str, Any] | None:
        """What a file says was measured; None: never measured."""
        found = self.file(name)
        return None if found is None else found["figures"]

    def history(self) -> Sequence[Entry]:
        """What was recorded before, oldest first."""
        return read(self._folder)

    def names(self, prefix: str) -> list[str]:
        """The files whose names begin so, in their order."""
        return sorted(path.stem for path in self._folder.glob(f"{prefix}*.json"))

    def engines(self, name: str) -> dict[str, Engine]:
        """The engines of a file, in the order of their rates, fastest first."""
        found = self.figures(name) or {}
        engines = [_engine(key, value) for key, value in found.get("engines", {}).items()]
        engines.sort(key=lambda engine: -engine.rate.median)
        return {engine.name: engine for engine in engines}


def _engine(name: str, found: Mapping[str, Any]) -> Engine:
    rate, cpu = found["rate"], found.get("cpu", {})
    return Engine(
        name,
        Spread(rate["median"], rate["min"], rate["max"]),
        cpu,
        found.get("cpu_s", sum(cpu.values())),
        found.get("peak_mib", {}),
    )
