"""The circuit breaker: opens above half, lets few calls through, and closes by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.steps.gate.admission import Admission, Change
from agents.steps.gate.breaker import Breaker, BreakerPass, BreakerSettings, BreakerState

SETTINGS = BreakerSettings()
OPEN_MAX_S = SETTINGS.open_max_s * 1.2
CHANCES = st.floats(0, 1)


def ended(
    breaker: Breaker, failed: bool | None, now_s: float, begun: BreakerPass | None = None
) -> Change | None:
    return breaker.ended(begun or breaker.begin(), failed, now_s=now_s, chance=0.0)


def an_open_breaker(at_s: float = 100.0) -> Breaker:
    breaker = Breaker(SETTINGS)
    for _ in range(SETTINGS.calls_min):
        ended(breaker, True, at_s)
    assert breaker.state(at_s) is BreakerState.OPEN
    return breaker


def test_exactly_half_of_the_calls_may_fail() -> None:
    breaker = Breaker(SETTINGS)
    for number in range(200):
        assert ended(breaker, number % 2 == 1, 1.0) is None
    assert breaker.closed
    assert ended(breaker, True, 1.0) is Change.PAUSED


def test_one_call_more_than_half_opens_it() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(10):
        ended(breaker, False, 1.0)
    changes = [ended(breaker, True, 1.0) for _ in range(11)]
    assert changes == [None] * 10 + [Change.PAUSED]


def test_with_19_calls_it_stays_closed() -> None:
    breaker = Breaker(SETTINGS)
    assert [ended(breaker, True, 1.0) for _ in range(19)] == [None] * 19


@given(st.floats(0, 1e6))
def test_calls_that_are_older_than_the_window_do_not_count(begin_s: float) -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(19):
        ended(breaker, True, begin_s)
    later_s = begin_s + SETTINGS.window_s + 1
    assert [ended(breaker, True, later_s) for _ in range(19)] == [None] * 19


def test_what_is_not_known_does_not_count() -> None:
    breaker = Breaker(SETTINGS)
    assert [ended(breaker, None, 1.0) for _ in range(100)] == [None] * 100
    assert breaker.closed


@pytest.mark.parametrize("at_once", [20, 64, 1000])
def test_failures_that_are_quicker_than_answers_do_not_open_it_alone(at_once: int) -> None:
    breaker = Breaker(SETTINGS)
    calls = [breaker.begin() for _ in range(at_once)]
    fails = [call for place, call in enumerate(calls) if place % 10 < 4]
    assert [ended(breaker, True, 1.0, call) for call in fails] == [None] * len(fails)


def test_calls_that_all_fail_open_it_although_later_ones_run() -> None:
    breaker = Breaker(SETTINGS)
    calls = [breaker.begin() for _ in range(64)]
    changes = [ended(breaker, True, 1.0, call) for call in calls[:20]]
    assert changes == [None] * 19 + [Change.PAUSED]


def test_an_open_breaker_lets_nothing_through_for_5_s_then_three_probes_at_once() -> None:
    breaker = an_open_breaker(100.0)
    assert not breaker.admits(104.9)
    assert breaker.next_look_s(104.0) == pytest.approx(1.0)
    probes = []
    while breaker.admits(105.0):
        probes.append(breaker.begin())
    assert [probe.admission for probe in probes] == [Admission.PROBE] * 3
    assert breaker.next_look_s(105.0) is None


def test_three_good_probes_close_it_and_nothing_of_before_counts() -> None:
    breaker = an_open_breaker(100.0)
    assert [ended(breaker, False, 105.0) for _ in range(3)] == [None, None, Change.RESUMED]
    assert [ended(breaker, True, 105.0) for _ in range(19)] == [None] * 19


def test_a_probe_that_fails_doubles_the_time_up_to_30_s() -> None:
    breaker, now_s, times_s = an_open_breaker(0.0), 0.0, []
    for _ in range(5):
        wait_s = breaker.next_look_s(now_s)
        assert wait_s is not None
        times_s.append(wait_s)
        now_s += wait_s
        ended(breaker, True, now_s)
    assert times_s == pytest.approx([5, 10, 20, 30, 30])


def test_after_it_closed_the_time_begins_at_5_s_again() -> None:
    breaker = an_open_breaker(0.0)
    ended(breaker, True, 5.0)
    for _ in range(3):
        ended(breaker, False, 15.0)
    for _ in range(20):
        ended(breaker, True, 16.0)
    assert breaker.next_look_s(16.0) == pytest.approx(5.0)


def test_a_probe_that_was_cancelled_leaves_its_place_to_another() -> None:
    breaker = an_open_breaker(100.0)
    probes = [breaker.begin() for _ in range(3)]
    ended(breaker, None, 105.0, probes[0])
    assert breaker.admits(105.0)


def test_a_call_from_before_it_opened_decides_nothing() -> None:
    breaker = Breaker(SETTINGS)
    old = [breaker.begin() for _ in range(3)]
    for _ in range(20):
        ended(breaker, True, 100.0)
    for call in old:
        assert ended(breaker, False, 106.0, call) is None
    assert not breaker.closed


def test_a_probe_of_an_earlier_time_decides_nothing() -> None:
    breaker = an_open_breaker(100.0)
    slow, quick = breaker.begin(), breaker.begin()
    ended(breaker, True, 105.0, quick)
    assert ended(breaker, False, 116.0, slow) is None
    assert [ended(breaker, False, 116.0) for _ in range(3)] == [None, None, Change.RESUMED]


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans(), CHANCES), max_size=300))
def test_whatever_happened_a_service_that_is_back_is_called_within_the_longest_time(
    story: list[tuple[float, bool, float]],
) -> None:
    breaker, now_s = Breaker(SETTINGS), 0.0
    for after_s, failed, chance in story:
        now_s += after_s
        if breaker.admits(now_s):
            breaker.ended(breaker.begin(), failed, now_s=now_s, chance=chance)
    now_s += OPEN_MAX_S
    while not breaker.closed:
        assert breaker.admits(now_s)
        breaker.ended(breaker.begin(), False, now_s=now_s, chance=0.0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"errors_percent": 0}, "errors_percent"),
        ({"errors_percent": 101}, "errors_percent"),
        ({"calls_min": 0}, "calls_min"),
        ({"probes": 0}, "probes"),
        ({"window_s": 0}, "window_s"),
        ({"open_s": 40}, "open_max_s"),
        ({"slow_call_s": -1}, "slow_call_s"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BreakerSettings(**wrong)  # type: ignore[arg-type]
