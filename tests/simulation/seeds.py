"""Many seeds on all cores of the machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice

from tests.simulation.run import Outcome, run

_CHUNK = 50


def outcomes(seeds: Iterable[int], *, off: str | None = None) -> Iterator[Outcome]:
    """Run seeds, without their traces, in the order given."""
    # Not a plain fork: the caller may have threads, and a copy of it the locks that they hold.
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=context) as pool:
        yield from pool.map(partial(run, off=off), seeds, chunksize=_CHUNK)


def first_violation(rule: str, seeds: Iterable[int]) -> Outcome | None:
    """The first of some seeds that breaks an invariant without a rule; None if none does."""
    broken = (outcome for seed in seeds if (outcome := run(seed, off=rule)).violation)
    return next(islice(broken, 1), None)


def report(outcome: Outcome, *, off: str | None = None) -> str:
    """The trace of a seed that broke an invariant, and how to run it again."""
    lines = run(outcome.seed, off=off, trace=True).trace
    again = f"python -m tests.simulation {outcome.seed}" + (f" --off {off}" if off else "")
    return "\n".join([*lines, f"seed {outcome.seed}: {outcome.violation}", again])
