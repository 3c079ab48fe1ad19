"""How much chaos: the short form for every test run, the full one for ``make chaos``."""

import os
import random
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The size of the tests. Each has its tasks in flight at every fault."""

    tasks: int
    """At least so many for each test."""
    in_flight: int
    """At least so many at each fault."""
    kills: int
    """Of each role; servers are stopped and members leave so often, too, at most twice."""
    minutes: float
    """Of everything at once."""
    seed: int
    partitions: int = 4

    @property
    def twice(self) -> int:
        return min(self.kills, 2)

    def plan(self, name: str) -> random.Random:
        """The draws of one test: the same for the same seed."""
        return random.Random(f"{self.seed}/{name}")


def form_from_environment() -> Form:
    """``CHAOS=full`` is the full form; ``CHAOS_SEED`` and ``CHAOS_MINUTES`` set the others."""
    full = os.environ.get("CHAOS") == "full"
    seed = int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)
    minutes = float(os.environ.get("CHAOS_MINUTES") or (3 if full else 0.5))
    tasks, kills = (1_000, 5) if full else (160, 1)
    return Form(tasks=tasks, in_flight=100, kills=kills, minutes=minutes, seed=seed)
