"""What a worker remembers of cancelled tasks, and for how long."""

from hypothesis import given
from hypothesis import strategies as st

from agents.steps.cancels import KEPT_MS, Cancels
from schemas.records import Control, ControlKind, Millis, TaskId

NOW = Millis(1_800_000_000_000)
TASK = TaskId("task_1")


def a_cancel(task_id: str = TASK, *, run: int = 1, at: int = NOW) -> Control:
    return Control(kind=ControlKind.CANCEL, task_id=TaskId(task_id), run=run, at=Millis(at))


def remembered(*controls: Control, max_tasks: int = 100, now: int = NOW) -> Cancels:
    cancels = Cancels(max_tasks=max_tasks)
    for control in controls:
        cancels.remember(control, Millis(now))
    return cancels


def test_runs_up_to_the_cancelled_one_are_stopped_and_later_ones_are_not() -> None:
    cancels = remembered(a_cancel(run=2))

    found = [cancels.find(TASK, run) is not None for run in (1, 2, 3)]

    assert found == [True, True, False]


def test_other_tasks_are_left_alone() -> None:
    assert remembered(a_cancel()).find(TaskId("task_2"), 1) is None


def test_an_older_run_s_cancel_does_not_replace_a_later_one_s() -> None:
    cancels = remembered(a_cancel(run=2), a_cancel(run=1))

    assert cancels.find(TASK, 2) is not None


def test_a_cancel_is_forgotten_when_no_command_of_its_run_can_come() -> None:
    cancels = remembered(a_cancel())

    cancels.remember(a_cancel("task_2", at=NOW + KEPT_MS), Millis(NOW + KEPT_MS))
    at_the_end = cancels.find(TASK, 1)
    cancels.remember(a_cancel("task_3", at=NOW + KEPT_MS + 1), Millis(NOW + KEPT_MS + 1))

    assert at_the_end is not None
    assert cancels.find(TASK, 1) is None


def test_a_cancel_that_is_too_old_is_not_taken() -> None:
    assert len(remembered(a_cancel(at=NOW - KEPT_MS - 1))) == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 3)), max_size=60))
def test_memory_is_bounded_and_the_newest_are_kept(controls: list[tuple[int, int]]) -> None:
    cancels = Cancels(max_tasks=5)
    for number, run in controls:
        cancels.remember(a_cancel(f"task_{number}", run=run), NOW)

        assert len(cancels) <= 5
        assert cancels.find(TaskId(f"task_{number}"), run) is not None
