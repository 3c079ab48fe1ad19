"""Delays grow, are spread a little, and end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import Lane
from tasks.lane import lane_of
from tasks.retry import RetryPolicy


@pytest.mark.parametrize(
    ("attempt", "delay_ms"),
    [(1, 500), (2, 1000), (3, 2000), (6, 16_000), (7, 30_000), (99, 30_000), (2**31 - 1, 30_000)],
)
def test_the_delay_doubles_up_to_its_cap(attempt: int, delay_ms: int) -> None:
    assert RetryPolicy().delay_ms(attempt, jitter=0.5) == delay_ms


@given(attempt=st.integers(1, 2**31 - 1), jitter=st.floats(0, 1, exclude_max=True))
@settings(derandomize=True, deadline=None)
def test_the_delay_is_spread_by_a_tenth_at_most(attempt: int, jitter: float) -> None:
    middle = RetryPolicy().delay_ms(attempt, jitter=0.5)

    delay_ms = RetryPolicy().delay_ms(attempt, jitter=jitter)

    assert 0.9 * middle - 1 <= delay_ms <= 1.1 * middle + 1


@pytest.mark.parametrize(
    ("retry_after_ms", "delay_ms"), [(None, 500), (-7, 500), (499, 500), (90_000, 90_000)]
)
def test_retry_after_is_a_lower_bound_without_a_cap(
    retry_after_ms: int | None, delay_ms: int
) -> None:
    assert RetryPolicy().delay_ms(1, jitter=0.5, retry_after_ms=retry_after_ms) == delay_ms


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": 101},
        {"base_delay_s": 0.0},
        {"base_delay_s": 31.0},
        {"max_delay_s": 3601.0},
        {"base_delay_s": float("nan")},
    ],
)
def test_a_senseless_policy_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RetryPolicy(**wrong)


@pytest.mark.parametrize(
    ("priority", "lane"),
    [
        (0, Lane.LOW),
        (2, Lane.LOW),
        (3, Lane.NORMAL),
        (7, Lane.NORMAL),
        (8, Lane.HIGH),
        (10, Lane.HIGH),
    ],
)
def test_each_priority_has_its_lane(priority: int, lane: Lane) -> None:
    assert lane_of(priority) is lane
