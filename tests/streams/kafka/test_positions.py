"""How far a group is behind its topics."""

from streams.kafka.positions import lag_by_topic


def test_lag_is_what_a_group_has_not_passed_summed_over_partitions() -> None:
    bounds = {("a", 0): (0, 10), ("a", 1): (5, 9), ("b", 0): (0, 3)}

    assert lag_by_topic({("a", 0): 4, ("a", 1): 9, ("b", 0): 3}, bounds) == {"a": 6, "b": 0}


def test_a_partition_without_a_position_counts_from_its_first_record() -> None:
    assert lag_by_topic({}, {("a", 0): (5, 9)}) == {"a": 4}


def test_records_that_were_removed_before_they_were_read_are_not_counted() -> None:
    assert lag_by_topic({("a", 0): 1}, {("a", 0): (5, 9)}) == {"a": 4}


def test_a_position_beyond_the_end_of_a_topic_that_was_made_again_is_no_lag() -> None:
    assert lag_by_topic({("a", 0): 7}, {("a", 0): (0, 2)}) == {"a": 0}
