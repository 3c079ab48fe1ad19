"""What a worker remembers of its answers, and how much."""

from hypothesis import given
from hypothesis import strategies as st

from agents.steps.answers import Answers
from schemas.records import CommandId


def test_the_oldest_answers_make_room_for_new_ones() -> None:
    answers = Answers(max_count=2, max_bytes=1_000_000)
    for name in ("a", "b", "c"):
        answers.keep(CommandId(name), name.encode())

    assert [answers.find(CommandId(name)) for name in ("a", "b", "c")] == [None, b"b", b"c"]


def test_large_answers_make_room_by_their_bytes() -> None:
    answers = Answers(max_count=100, max_bytes=25_000)
    for name in ("a", "b", "c"):
        answers.keep(CommandId(name), bytes(10_000))

    assert answers.find(CommandId("a")) is None
    assert len(answers) == 2


def test_an_answer_that_is_larger_than_the_memory_is_not_kept() -> None:
    answers = Answers(max_count=100, max_bytes=5_000)
    answers.keep(CommandId("a"), bytes(10_000))

    assert (len(answers), answers.size_bytes) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3_000)), max_size=60))
def test_both_bounds_always_hold_and_nothing_is_counted_twice(kept: list[tuple[int, int]]) -> None:
    answers = Answers(max_count=4, max_bytes=8_000)
    for number, size in kept:
        answers.keep(CommandId(str(number)), bytes(size))

        assert len(answers) <= 4
        assert answers.size_bytes <= 8_000
        assert answers.find(CommandId(str(number))) == bytes(size)
    for number in range(4):
        answers.keep(CommandId(f"new {number}"), b"")

    assert answers.size_bytes == the_size_of_four_empty_ones()


def the_size_of_four_empty_ones() -> int:
    answers = Answers(max_count=4, max_bytes=8_000)
    for number in range(4):
        answers.keep(CommandId(f"new {number}"), b"")
    return answers.size_bytes
