"""When a consumer counts as stuck."""

from hypothesis import given
from hypothesis import strategies as st

from streams.runtime.watchdog import Stall

TIMEOUT_S = 60.0
LONG_AGO_S = -1_000.0


def test_records_that_wait_unread_for_the_whole_timeout_are_a_stall() -> None:
    stall = Stall(TIMEOUT_S)

    looks = [stall.look(now, last_read_s=LONG_AGO_S, lag=3) for now in (0.0, 15.0, 59.9, 60.0)]

    assert looks == [False, False, False, True]


def test_a_record_that_was_read_begins_the_time_anew() -> None:
    stall = Stall(TIMEOUT_S)
    stall.look(0.0, last_read_s=LONG_AGO_S, lag=3)

    looks = [stall.look(now, last_read_s=20.0, lag=3) for now in (30.0, 60.0, 89.0, 90.0)]

    assert looks == [False, False, False, True]


def test_a_moment_without_lag_begins_the_time_anew() -> None:
    stall = Stall(TIMEOUT_S)
    stall.look(0.0, last_read_s=LONG_AGO_S, lag=3)
    stall.look(30.0, last_read_s=LONG_AGO_S, lag=0)

    looks = [stall.look(now, last_read_s=LONG_AGO_S, lag=3) for now in (60.0, 119.0, 120.0)]

    assert looks == [False, False, True]


@given(st.lists(st.floats(0, 1e6), max_size=50).map(sorted))
def test_without_lag_there_is_never_a_stall(looks: list[float]) -> None:
    stall = Stall(TIMEOUT_S)

    assert not any(stall.look(now, last_read_s=LONG_AGO_S, lag=0) for now in looks)
