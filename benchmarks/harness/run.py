"""What one drain of an engine took, and the figures that several of them make."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """What one drain took."""

    tasks: int
    seconds: float
    cpu: Mapping[str, float]
    """CPU seconds by process, the servers' included, the generator's and readers' not."""
    peak_mib: Mapping[str, float]
    """The largest resident memory of one process under each name."""
    generator_s: float | None = None
    """CPU seconds of the process that submitted the tasks; None: not measured."""

    @property
    def rate(self) -> float:
        """Tasks/s."""
        return self.tasks / self.seconds


def figures_of(runs: Sequence[Run]) -> dict[str, Any]:
    """One engine's figures in the shape of :mod:`benchmarks.harness.figures`."""
    rates = [run.rate for run in runs]
    return {
        "rate": {"median": statistics.median(rates), "min": min(rates), "max": max(rates)},
        "cpu": {
            name: statistics.median(run.cpu[name] / run.tasks * 1000 for run in runs)
            for name in runs[0].cpu
        },
        "cpu_s": statistics.median(sum(run.cpu.values()) / run.tasks * 1000 for run in runs),
        "peak_mib": {name: max(run.peak_mib[name] for run in runs) for name in runs[0].peak_mib},
    }
