"""A transaction that stays open is said after a minute, and then now and then. Pure."""

from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.open_transactions import OpenTransaction, OpenTransactions

PLACE = ("t", 0)


def test_a_transaction_is_said_when_it_has_been_open_for_a_minute() -> None:
    seen = OpenTransactions()

    assert seen.look(0.0, {PLACE: (5, 9)}) == []
    assert seen.look(59.0, {PLACE: (5, 12)}) == []
    assert seen.look(60.0, {PLACE: (5, 20)}) == [OpenTransaction("t", 0, 5, 15, 60.0)]
    assert seen.look(75.0, {PLACE: (5, 20)}) == []
    assert seen.look(660.0, {PLACE: (5, 21)}) == [OpenTransaction("t", 0, 5, 16, 660.0)]


def test_transactions_that_end_and_begin_again_hold_up_nobody() -> None:
    seen = OpenTransactions()

    looks = [seen.look(float(n), {PLACE: (n, n + 3)}) for n in range(0, 600, 15)]

    assert looks == [[]] * len(looks)


def test_what_ended_is_new_when_it_hangs_again() -> None:
    seen = OpenTransactions()
    seen.look(0.0, {PLACE: (5, 9)})
    seen.look(60.0, {PLACE: (5, 9)})
    seen.look(61.0, {PLACE: (9, 9)})

    assert seen.look(62.0, {PLACE: (9, 10)}) == []
    assert seen.look(122.0, {PLACE: (9, 10)}) == [OpenTransaction("t", 0, 9, 1, 60.0)]


@given(ends=st.lists(st.integers(0, 5), max_size=50))
def test_nothing_is_said_where_no_transaction_is_open(ends: list[int]) -> None:
    seen = OpenTransactions()

    assert all(not seen.look(60.0 * n, {PLACE: (end, end)}) for n, end in enumerate(ends))
