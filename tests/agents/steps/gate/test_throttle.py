"""Calls at once: fewer after refusals, never none, and all of them again when the service can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.steps.gate.throttle import RETRY_AFTER_MAX_S, Throttle

SLOTS = 64


def refuse(throttle: Throttle, *, now_s: float, retry_after_s: float | None = None) -> None:
    throttle.begin()
    throttle.refused(now_s, retry_after_s, now_s=now_s + 1e-9, chance=1.0)


def test_a_refusal_halves_the_calls_and_calls_of_the_same_moment_do_it_once() -> None:
    throttle = Throttle(SLOTS)
    for _ in range(SLOTS):
        throttle.begin()
    for _ in range(SLOTS):
        throttle.refused(1.0, None, now_s=2.0, chance=0.5)
    assert throttle.limit == 32


def test_one_call_is_always_left() -> None:
    throttle = Throttle(SLOTS)
    for number in range(50):
        refuse(throttle, now_s=float(number))
    assert throttle.limit == 1
    assert throttle.admits(1000.0)


def test_each_round_of_successes_adds_one_call_up_to_the_slots() -> None:
    throttle = Throttle(SLOTS)
    refuse(throttle, now_s=1.0)
    for expected in range(33, SLOTS + 1):
        for _ in range(expected):
            throttle.begin()
            throttle.succeeded()
        assert throttle.limit in (expected, expected + 1, SLOTS)
    assert not throttle.active


def test_a_service_that_asks_for_a_day_is_asked_again_after_a_minute() -> None:
    throttle = Throttle(SLOTS)
    refuse(throttle, now_s=10.0, retry_after_s=86_400.0)

    assert not throttle.admits(10.0 + RETRY_AFTER_MAX_S * 0.99)
    assert throttle.admits(10.0 + RETRY_AFTER_MAX_S + 1e-6)


@given(st.floats(0, RETRY_AFTER_MAX_S))
def test_nothing_is_called_before_the_time_that_the_service_gave(after_s: float) -> None:
    throttle = Throttle(SLOTS)
    refuse(throttle, now_s=10.0, retry_after_s=after_s)
    assert throttle.admits(10.0 + after_s + 1e-6)
    if after_s > 0.001:
        assert not throttle.admits(10.0 + after_s * 0.99)
        assert throttle.next_look_s(10.0) == pytest.approx(after_s)


def test_without_a_time_the_pause_doubles_from_a_fifth_of_a_second_to_30_s() -> None:
    throttle, now_s, pauses_s = Throttle(SLOTS), 0.0, []
    for _ in range(10):
        refuse(throttle, now_s=now_s)
        pause_s = throttle.next_look_s(now_s)
        assert pause_s is not None
        pauses_s.append(pause_s)
        now_s += pause_s
    assert pauses_s == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30])


def test_no_more_than_the_limit_run_at_once() -> None:
    throttle = Throttle(SLOTS)
    refuse(throttle, now_s=1.0)
    begun = 0
    while throttle.admits(100.0):
        throttle.begin()
        begun += 1
    assert begun == throttle.limit == 32
    throttle.ended()
    assert throttle.admits(100.0)


@given(st.lists(st.sampled_from(["refused", "succeeded", "ended"]), max_size=200))
def test_the_limit_stays_between_one_and_the_slots(ends: list[str]) -> None:
    throttle = Throttle(8)
    for number, end in enumerate(ends):
        throttle.begin()
        if end == "refused":
            throttle.refused(float(number), None, now_s=number + 0.5, chance=0.0)
        else:
            getattr(throttle, end)()
        assert 1 <= throttle.limit <= 8
