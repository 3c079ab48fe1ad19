"""The protocol of ownership holds on simulated logs, and each of its rules is needed."""

import pytest

from tests.simulation.run import run
from tests.simulation.seeds import outcomes, report

SEEDS = range(2_000)


@pytest.mark.timeout(900)  # half a minute of CPU time; a busy machine has little to give
def test_no_invariant_breaks_whatever_crashes_pauses_and_comes_late() -> None:
    found = list(outcomes(SEEDS))
    broken = [outcome for outcome in found if outcome.violation is not None]

    assert not broken, report(broken[0])
    # Otherwise nothing of interest was simulated.
    assert sum(outcome.epochs for outcome in found) > 3 * len(SEEDS)
    assert sum(outcome.ignored for outcome in found) > len(SEEDS) // 5


def test_a_seed_always_gives_the_same_run() -> None:
    assert run(7, trace=True) == run(7, trace=True)
