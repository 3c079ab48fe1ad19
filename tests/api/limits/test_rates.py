"""The rate of a key: a burst, then the average, and no key takes anything from another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.limits.rates import Rates, calls_of

RATES = st.floats(0.5, 1000)
BURSTS = st.integers(1, 100)
STEPS_S = st.lists(st.floats(0, 0.5), max_size=200)


@given(RATES, BURSTS)
def test_a_burst_is_taken_at_once_and_no_call_more(per_s: float, burst: int) -> None:
    rates = Rates(per_s, burst)
    assert [rates.take("key", 0.0) for _ in range(burst)] == [0.0] * burst
    assert rates.take("key", 0.0) > 0


@given(RATES, BURSTS, STEPS_S)
def test_no_window_has_more_calls_than_its_time_allows(
    per_s: float, burst: int, steps_s: list[float]
) -> None:
    rates, now_s, taken = Rates(per_s, burst), 100.0, list[float]()
    for step_s in steps_s:
        now_s += step_s
        if rates.take("key", now_s) == 0:
            taken.append(now_s)
    for begin, at in enumerate(taken):
        calls = len(taken) - begin
        assert calls <= burst + (taken[-1] - at) * per_s + 1e-3


@given(RATES, BURSTS)
def test_a_call_is_taken_after_the_time_that_was_said(per_s: float, burst: int) -> None:
    rates = Rates(per_s, burst)
    for _ in range(burst):
        rates.take("key", 0.0)
    wait_s = rates.take("key", 0.0)
    assert rates.take("key", wait_s) == 0.0


@given(RATES, BURSTS)
def test_a_refused_call_is_not_counted(per_s: float, burst: int) -> None:
    rates = Rates(per_s, burst)
    for _ in range(burst):
        rates.take("key", 0.0)
    said = [rates.take("key", 0.0) for _ in range(5)]
    assert len(set(said)) == 1


@given(RATES, BURSTS, st.integers(1, 500))
def test_a_large_call_counts_as_many_and_is_taken_at_rest(
    per_s: float, burst: int, calls: int
) -> None:
    rates = Rates(per_s, burst)
    assert rates.take("key", 0.0, calls) == 0.0
    wait_s = rates.take("key", 0.0)
    if calls < burst:
        assert wait_s == 0.0
    else:
        assert wait_s > 0.0
        assert rates.take("key", wait_s) == 0.0


@given(RATES, BURSTS, st.integers(1, 500))
def test_what_is_added_later_counts_the_same(per_s: float, burst: int, calls: int) -> None:
    at_once, later = Rates(per_s, burst), Rates(per_s, burst)
    at_once.take("key", 0.0, 1 + calls)
    later.take("key", 0.0)
    later.add("key", 0.0, calls)
    assert at_once.take("key", 0.0) == pytest.approx(later.take("key", 0.0))


def test_each_64_kib_of_a_body_is_a_call() -> None:
    assert [calls_of(size) for size in (0, 65_535, 65_536, 8 * 1024 * 1024)] == [1, 1, 2, 129]


@given(st.integers(0))
def test_no_size_locks_a_key_out(size: int) -> None:
    rates = Rates(10.0, 10)
    rates.take("key", 0.0, calls_of(size))
    rates.add("key", 0.0, calls_of(size))
    assert rates.take("key", 0.0) < 300


def test_keys_do_not_share_a_rate() -> None:
    rates = Rates(1.0, 1)
    assert rates.take("one", 0.0) == 0.0
    assert rates.take("one", 0.0) > 0.0
    assert rates.take("other", 0.0) == 0.0


def test_memory_is_bounded() -> None:
    rates = Rates(1.0, 1)
    for number in range(20_000):
        rates.take(str(number), 0.0)
    assert len(rates._empty_at) == 10_000
