"""The retry budget: a share of the calls of a minute, and a few retries always."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.steps.gate.retry_budget import RetryBudget, RetryBudgetSettings

SETTINGS = RetryBudgetSettings(per_minute_min=5)
STORY = st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=400)


@given(STORY)
def test_in_no_minute_are_more_retries_than_the_share_and_the_least(
    story: list[tuple[float, bool]],
) -> None:
    budget, now_s, calls = RetryBudget(SETTINGS), 0.0, list[tuple[float, bool]]()
    for after_s, retry in story:
        now_s += after_s
        if retry and not budget.admits(now_s):
            continue
        budget.begin(now_s, retry=retry)
        calls.append((now_s, retry))
        minute = [again for at, again in calls if at > now_s - 60]
        if retry:
            # The window moves in parts of 2.1 s, by which calls count longer.
            assert sum(minute) <= max(5, 0.2 * sum(at > now_s - 62.1 for at, _ in calls))


@given(STORY)
def test_a_retry_that_waits_is_allowed_after_the_times_that_were_said(
    story: list[tuple[float, bool]],
) -> None:
    budget, now_s = RetryBudget(SETTINGS), 0.0
    for after_s, retry in story:
        now_s += after_s
        if not retry or budget.admits(now_s):
            budget.begin(now_s, retry=retry)
    for _ in range(31):
        look_s = budget.next_look_s(now_s)
        if look_s is None:
            break
        now_s += look_s + 1e-6
    assert budget.admits(now_s)


def test_first_attempts_make_room_for_retries() -> None:
    budget = RetryBudget(SETTINGS)
    for _ in range(100):
        budget.begin(1.0, retry=False)
    retries = 0
    while budget.admits(1.0):
        budget.begin(1.0, retry=True)
        retries += 1
    assert retries == 25  # of 125 calls


@pytest.mark.parametrize("wrong", [{"percent": -1}, {"percent": 101}, {"per_minute_min": 0}])
def test_a_setting_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryBudgetSettings(**wrong)  # type: ignore[arg-type]
