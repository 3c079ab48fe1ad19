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
    call_s: float
    """What a call of a slow task takes. The longer, the fewer tasks pass while so many are in
    flight: each costs CPU time of every role."""
    surplus: int
    """Tasks in flight beyond those that a fault needs."""
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
    minutes = float(os.environ.get("CHAOS_MINUTES") or (3 if full else 0.3))
    tasks, kills = (1_000, 5) if full else (130, 1)
    call_s, surplus = (2.0, 50) if full else (4.0, 20)
    return Form(
        tasks=tasks,
        in_flight=100,
        kills=kills,
        minutes=minutes,
        seed=seed,
        call_s=call_s,
        surplus=surplus,
    )
