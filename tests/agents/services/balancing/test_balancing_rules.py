"""The rules of choosing and of leaving out, on everything that can happen to them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.services.balancing.choice import fewer_of_two
from agents.services.balancing.ejection import (
    FAILURES,
    FIRST_S,
    LONGEST_S,
    EndpointHealth,
    EndpointStanding,
    usable,
)

DRAWS = st.floats(min_value=0, max_value=1, exclude_max=True)
CALLS = st.lists(st.integers(min_value=0, max_value=5), min_size=1, max_size=8)


@given(calls=CALLS, first=DRAWS, second=DRAWS)
def test_the_chosen_one_has_no_more_calls_than_another_one(
    calls: list[int], first: float, second: float
) -> None:
    chosen = fewer_of_two(calls, first, second)

    others = calls[:chosen] + calls[chosen + 1 :]
    assert not others or calls[chosen] <= max(others)


@given(calls=CALLS, fewest=st.integers(min_value=0, max_value=7))
def test_each_endpoint_can_be_chosen_unless_it_is_the_busiest(
    calls: list[int], fewest: int
) -> None:
    draws = [n / len(calls) for n in range(len(calls))]

    chosen = {fewer_of_two(calls, first, second) for first in draws for second in draws}

    busiest = max(calls) if len(set(calls)) > 1 and calls.count(max(calls)) == 1 else None
    assert chosen == {n for n, of_one in enumerate(calls) if of_one != busiest}


ENDS = st.lists(st.tuples(st.booleans(), st.floats(min_value=0, max_value=100), DRAWS), max_size=40)


@given(ends=ENDS)
def test_no_endpoint_is_left_out_before_it_failed_often_enough_or_longer_than_the_longest_time(
    ends: list[tuple[bool, float, float]],
) -> None:
    health, now_s, in_a_row = EndpointHealth(), 0.0, 0
    for failed, later_s, chance in ends:
        now_s += later_s
        in_a_row = in_a_row + 1 if failed else 0
        health = health.after(failed=failed, now_s=now_s, chance=chance)

        left_out = health.standing(now_s) is EndpointStanding.LEFT_OUT
        assert not left_out or in_a_row >= FAILURES
        assert health.until_s - now_s <= LONGEST_S * 1.2 + 1e-6
        assert failed or health.standing(now_s) is EndpointStanding.GOOD


def test_the_time_doubles_each_time_and_an_answer_ends_it() -> None:
    health, now_s, times = EndpointHealth(), 0.0, []
    for _ in range(FAILURES - 1):
        health = health.after(failed=True, now_s=now_s, chance=0.0)
    for _ in range(7):
        health = health.after(failed=True, now_s=now_s, chance=0.0)
        times.append(health.until_s - now_s)
        now_s = health.until_s

    assert times == [FIRST_S, 4.0, 8.0, 16.0, 32.0, LONGEST_S, LONGEST_S]
    assert health.after(failed=False, now_s=now_s, chance=0.0) == EndpointHealth()


def test_calls_that_began_before_do_not_make_the_time_longer() -> None:
    health = EndpointHealth()
    for _ in range(FAILURES):
        health = health.after(failed=True, now_s=0.0, chance=0.0)

    assert health.after(failed=True, now_s=1.0, chance=0.0) == health


@given(
    members=st.lists(
        st.tuples(st.sampled_from(EndpointStanding), st.integers(min_value=0, max_value=2)),
        min_size=1,
    )
)
def test_some_endpoint_may_always_be_called_and_a_good_one_first(
    members: list[tuple[EndpointStanding, int]],
) -> None:
    standings = [standing for standing, _ in members]

    chosen = usable(standings, [calls for _, calls in members])

    assert chosen
    for standing in (EndpointStanding.GOOD, EndpointStanding.TRIED_AGAIN):
        if standing in standings:
            assert all(standings[index] < EndpointStanding.LEFT_OUT for index in chosen)
            break
    for index in chosen:
        if EndpointStanding.GOOD in standings and standings[index] is EndpointStanding.TRIED_AGAIN:
            assert members[index][1] == 0
