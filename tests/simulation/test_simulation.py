"""The protocol of ownership holds on simulated logs, and each of its rules is needed."""

import pytest

from tests.simulation.run import run
from tests.simulation.seeds import first_violation, outcomes, report
from tests.simulation.switches import SWITCHES

SEEDS = range(2_000)

BREAKING = {
    "proof": range(40),
    "proof_of_empty_batches": range(1_050, 1_060),
    "effects_after_proof": range(70, 80),
    "acks_after_effects": range(120, 170),
    "refused_first": range(141, 145),
    "checkpoint_after_effects": range(40),
    "redo": range(40),
    "redo_of_timers": range(110, 120),
    "decided_offsets": range(40),
    "outstanding_attempt": range(40),
    "late_snapshots": range(2_610, 2_620),
    "state_end": range(495, 500),
    "committed_is_decided": range(15_040, 15_045),
    "new_owner_id": range(60, 80),
    "forgetting_committed": range(100, 110),
    "new_life": range(90, 105),
}
"""Seeds that break an invariant without a rule.

After a change to what is simulated other seeds do; to look for them:
``python -m tests.simulation --off RULE --seeds 5000``.
"""

NOT_SHOWN = {"decided_created", "as_of", "whole_retried", "rewriting", "committed_is_read"}
"""Rules without which no invariant broke in the seeds that were tried; see docs/ownership.md."""


@pytest.mark.timeout(900)  # half a minute of CPU time; a busy machine has little to give
def test_no_invariant_breaks_whatever_crashes_pauses_and_comes_late() -> None:
    found = list(outcomes(SEEDS))
    broken = [outcome for outcome in found if outcome.violation is not None]

    assert not broken, report(broken[0])
    # Otherwise nothing of interest was simulated.
    assert sum(outcome.epochs for outcome in found) > 3 * len(SEEDS)
    assert sum(outcome.ignored for outcome in found) > len(SEEDS) // 5


@pytest.mark.parametrize("rule", BREAKING)
def test_without_a_rule_an_invariant_breaks(rule: str) -> None:
    assert first_violation(rule, BREAKING[rule]) is not None, SWITCHES[rule].rule


def test_every_switch_is_either_shown_to_matter_or_named_as_not_shown() -> None:
    assert {*BREAKING, *NOT_SHOWN} == {*SWITCHES}


def test_a_seed_always_gives_the_same_run() -> None:
    assert run(7, trace=True) == run(7, trace=True)
