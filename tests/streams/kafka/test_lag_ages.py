"""The age of the oldest unread record follows from the ends of its partition over time."""

from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.lag import LagAges

PLACE = ("topic", 0)


def ages_of(*samples: tuple[float, int]) -> LagAges:
    ages = LagAges()
    for now_s, end in samples:
        ages.look(now_s, {PLACE: end})
    return ages


def test_a_partition_that_was_read_to_its_end_has_no_age() -> None:
    assert ages_of((0, 5)).age_s(100, PLACE, 5) == 0
    assert LagAges().age_s(100, PLACE, 0) == 0


def test_the_age_counts_from_the_look_that_saw_the_record_first() -> None:
    ages = ages_of((0, 5), (10, 8), (20, 8), (30, 9))

    # A position only goes on: what was read is forgotten.
    assert [ages.age_s(100, PLACE, position) for position in (4, 5, 7, 8, 9)] == [
        100,
        90,
        90,
        70,
        0,
    ]


def test_a_topic_that_was_made_again_begins_anew() -> None:
    assert ages_of((0, 50), (10, 3)).age_s(100, PLACE, 0) == 90


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5)), max_size=300), st.data())
def test_the_age_is_that_of_a_record_by_record_history_to_one_look(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    """A record counts from the first look after its append; after very many looks, from a
    later one."""
    now_s, seen_s, ages = 0, list[int](), LagAges()
    for wait_s, appended in steps:
        now_s += wait_s
        seen_s += [now_s] * appended
        ages.look(now_s, {PLACE: len(seen_s)})
    position = data.draw(st.integers(0, len(seen_s)))
    age_s = ages.age_s(now_s, PLACE, position)

    exact_s = now_s - seen_s[position] if position < len(seen_s) else 0
    assert age_s <= exact_s
    if len({*seen_s}) <= 240:
        assert age_s == exact_s


def test_a_record_that_nobody_reads_grows_older_however_often_its_partition_is_looked_at() -> None:
    ages = LagAges()
    for now_s in range(5_000):
        ages.look(now_s, {PLACE: now_s + 1})

    assert ages.age_s(5_000, PLACE, 0) == 5_000
    assert 0 < ages.age_s(5_000, PLACE, 2_500) <= 2_500
