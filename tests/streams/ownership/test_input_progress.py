"""How far an owner knows that it has read its inputs."""

from streams.ownership.progress import InputProgress


def test_a_topic_that_is_being_read_does_not_stand_still() -> None:
    progress = InputProgress({"a": 3}, {"a": 10, "b": 10})
    progress.read("a", 3)

    assert progress.stood_still(["a", "b"]) == ["b"]
    assert progress.stood_still(["a", "b"]) == ["a", "b"]


def test_a_topic_is_behind_until_the_end_that_it_had_is_read() -> None:
    progress = InputProgress({"a": 3}, {"a": 5, "b": 0})
    before = dict(progress.behind)
    progress.read("a", 4)

    assert before == {"a": 5}
    assert progress.behind == {}


def test_what_others_committed_is_settled_when_it_was_taken_here_too() -> None:
    progress = InputProgress({"a": 3, "b": 3}, {"a": 10, "b": 10})
    progress.read("a", 7)

    assert progress.settled({"a": 5, "b": 5}) == {"a": 5, "b": 3}
