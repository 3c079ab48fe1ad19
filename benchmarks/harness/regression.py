"""Whether a drain costs more CPU time than the one that was committed. Pure.

CPU seconds of different machines differ, and so do those of one machine on different days. The raw
chain runs none of our code but the codec and the publisher, beside us in the same run: what slows
it down slows us down, too. So CPU seconds for 1,000 tasks are compared as multiples of its.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.harness.key_figures import cpu_of, cpu_s
from benchmarks.harness.names import OURS, RAW

WARN_ABOVE = 0.15


@dataclass(frozen=True, slots=True)
class Regression:
    """A drain beside the committed one."""

    now: float
    """CPU seconds as a multiple of the raw chain's, in this run."""
    kept: float
    """The same in the committed one."""
    expected_s: float
    """CPU seconds for 1,000 tasks that the committed multiple makes of this run's raw chain."""
    found_s: float

    @property
    def worse_by(self) -> float:
        """By which part more CPU time is used; below 0: less."""
        return self.now / self.kept - 1

    @property
    def warns(self) -> bool:
        """Whether that is worth a look."""
        return self.worse_by > WARN_ABOVE


def regression(now: Mapping[str, Any], kept: Mapping[str, Any]) -> Regression | None:
    """Compare the figures of two drains; None: one lacks an engine."""
    ours, raw = cpu_s(OURS)(now), cpu_s(RAW)(now)
    of_raw, of_raw_kept = cpu_of(RAW)(now), cpu_of(RAW)(kept)
    if ours is None or raw is None or of_raw is None or of_raw_kept is None:
        return None
    return Regression(of_raw, of_raw_kept, raw * of_raw_kept, ours)
