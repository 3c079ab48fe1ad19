"""Which lane gets the next slot: weights, the reserve, patience, and order."""

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from streams.runtime.lanes import Lanes, Ready

WEIGHTS = {"high": 60, "normal": 30, "low": 10}
PLENTY = 1_000

Item = tuple[str, int, int]
"""Lane, partition, and its number there."""


def lanes(slots: int = 64, patience_s: float = 30.0) -> Lanes[Item]:
    return Lanes(WEIGHTS, slots=slots, patience_s=patience_s)


def fill(found: Lanes[Item], lane: str, count: int, *, partitions: int = 1) -> None:
    for number in range(count):
        for partition in range(partitions):
            found.put(lane, partition, (lane, partition, number), 0.0)


def any_partition(_lane: str, _partition: int) -> bool:
    return True


def unblocked(blocked: set[int]) -> Ready:
    return lambda _, partition: partition not in blocked


def starts(found: Lanes[Item], count: int, *, free: int = PLENTY, now_s: float = 0.0) -> list[Item]:
    taken = [found.take(free=free, now_s=now_s, ready=any_partition) for _ in range(count)]
    return [item for item in taken if item is not None]


def by_lane(items: list[Item]) -> Counter[str]:
    return Counter(lane for lane, _, _ in items)


def test_lanes_that_all_wait_get_their_shares_of_the_starts() -> None:
    found = lanes()
    for lane in WEIGHTS:
        fill(found, lane, 1_000)

    shares = by_lane(starts(found, 1_000))

    assert abs(shares["high"] - 600) <= 3
    assert abs(shares["normal"] - 300) <= 3
    assert abs(shares["low"] - 100) <= 3


def test_a_lane_that_waits_alone_gets_every_slot() -> None:
    found = lanes()
    fill(found, "low", 100)

    assert by_lane(starts(found, 100)) == {"low": 100}


def test_a_lane_that_was_empty_has_saved_nothing() -> None:
    found = lanes()
    fill(found, "low", 2_000)
    starts(found, 1_000)
    fill(found, "high", 1_000)

    shares = by_lane(starts(found, 70))

    # By weight 60 to 10; with 1,000 turns saved high would take all of them.
    assert shares["low"] >= 9


def test_the_last_free_slot_is_kept_for_the_high_lane() -> None:
    found = lanes()
    fill(found, "normal", 5)
    fill(found, "low", 5)

    assert starts(found, 1, free=1) == []

    fill(found, "high", 1)

    assert by_lane(starts(found, 2, free=1)) == {"high": 1}


def test_a_pool_of_one_slot_keeps_nothing_back() -> None:
    found = lanes(slots=1)
    fill(found, "low", 1)

    assert by_lane(starts(found, 1, free=1)) == {"low": 1}


def test_a_lane_that_waited_too_long_weighs_as_much_as_the_high_one() -> None:
    found = lanes(patience_s=30.0)
    fill(found, "low", 1_000)
    for number in range(1_000):
        found.put("high", 0, ("high", 0, number), 30.0)

    shares = by_lane(starts(found, 1_000, now_s=30.0))

    assert abs(shares["low"] - shares["high"]) <= 2


def test_a_partition_that_may_not_begin_does_not_hold_up_the_others() -> None:
    found = lanes()
    fill(found, "normal", 3, partitions=2)

    taken = [found.take(free=9, now_s=0.0, ready=lambda _, p: p == 1) for _ in range(4)]

    assert taken == [("normal", 1, 0), ("normal", 1, 1), ("normal", 1, 2), None]
    assert len(found) == 3


def test_the_partitions_of_a_lane_take_turns() -> None:
    found = lanes()
    fill(found, "high", 2, partitions=3)

    assert [partition for _, partition, _ in starts(found, 6)] == [0, 1, 2, 0, 1, 2]


def test_what_is_cleared_is_returned_and_gone() -> None:
    found = lanes()
    fill(found, "high", 2)
    fill(found, "low", 1, partitions=2)

    assert len(found.clear()) == 4
    assert (len(found), found.waiting("low")) == (0, 0)
    assert starts(found, 1) == []


puts = st.tuples(st.just("put"), st.sampled_from(list(WEIGHTS)), st.integers(0, 3))
takes = st.tuples(st.just("take"), st.integers(0, 4), st.sets(st.integers(0, 3)))


@given(st.lists(st.one_of(puts, takes), max_size=120), st.integers(1, 4))
def test_nothing_is_lost_or_overtaken_and_no_slot_idles(
    steps: list[tuple[str, object, object]], slots: int
) -> None:
    found = lanes(slots=slots)
    waiting: dict[tuple[str, int], list[int]] = defaultdict(list)
    reserved = 1 if slots > 1 else 0
    for number, (kind, first, second) in enumerate(steps):
        if kind == "put":
            assert isinstance(first, str)
            assert isinstance(second, int)
            found.put(first, second, (first, second, number), 0.0)
            waiting[first, second].append(number)
            continue
        assert isinstance(first, int)
        assert isinstance(second, set)
        blocked, free = second, first
        item = found.take(free=free, now_s=0.0, ready=unblocked(blocked))
        ready = {
            lane
            for (lane, partition), numbers in waiting.items()
            if numbers and partition not in blocked
        }
        if item is None:
            assert free == 0 or not ready & ({"high"} if free <= reserved else set(WEIGHTS))
        else:
            lane, partition, taken = item
            assert lane in ready
            assert waiting[lane, partition].pop(0) == taken
    assert len(found) == sum(len(numbers) for numbers in waiting.values())


@given(st.dictionaries(st.sampled_from(list(WEIGHTS)), st.integers(1, 60), min_size=1))
def test_nothing_waits_for_ever(backlog: dict[str, int]) -> None:
    found = lanes()
    fill(found, "low", 1)
    for lane, count in backlog.items():
        fill(found, lane, count)
    first_low = ("low", 0, 0)

    for start in range(1_000):
        item = found.take(free=9, now_s=0.0, ready=any_partition)
        if item == first_low:
            break
        if item is not None:
            found.put("high", 0, ("high", 0, start), 0.0)

    # A lane with a tenth of the weight is served at least once in about ten starts.
    assert start <= 12
