"""A step that failed for good, or too late, as a dead letter."""

from schemas.codec import decode
from schemas.dead_letter import Failure, FailureClass, Origin, Stage, dead_letter_id
from schemas.records import Error, ErrorCategory, StepCommand, TaskId
from schemas.topics import Topics
from streams.ownership.step_letter import step_letter
from tasks.effects import DeadLetterStep
from tests.tasks.builders import Life, a_life, a_task_created

GROUP = "orchestrator.router"
TOO_LATE = Error(code="DEADLINE_EXCEEDED", category=ErrorCategory.TIMEOUT)
SLOW = Error(code="SERVICE_TIMEOUT", category=ErrorCategory.TIMEOUT)


def letters_of(life: Life) -> list[tuple[Origin, Failure]]:
    return [
        step_letter(Topics(), 0, effect, {})
        for effect in life.effects[-1]
        if isinstance(effect, DeadLetterStep)
    ]


def a_late_life(task_id: str, *, hold: bool = False) -> Life:
    life = a_life(a_task_created(task_id=TaskId(task_id), hold=hold))
    life.pass_ms(300_000)
    life.deadline()
    return life


def test_a_task_that_the_deadlines_timer_failed_is_a_letter_of_its_class() -> None:
    for hold in (False, True):
        [(origin, failure)] = letters_of(a_late_life("task_1", hold=hold))

        assert (failure.failure_class, failure.code) == (
            FailureClass.DEADLINE,
            "DEADLINE_EXCEEDED",
        )
        assert failure.stage is Stage.EXECUTE
        assert origin.topic == "orchestrator.steps.retrieve.normal.v1"
        assert decode(origin.value, StepCommand).task_id == "task_1"


def test_a_deadline_that_a_worker_reported_is_of_the_same_class() -> None:
    life = a_life()
    life.failed(TOO_LATE)

    [(origin, failure)] = letters_of(life)
    assert failure.failure_class is FailureClass.DEADLINE
    assert origin.offset >= 0


def test_a_service_that_is_too_slow_is_another_class() -> None:
    life = a_life()
    for _ in range(10):
        life.failed(SLOW)
        if life.task.status.terminal:
            break
        life.pass_ms(5_000)

    [(_, failure)] = letters_of(life)
    assert failure.failure_class is FailureClass.TIMEOUT


def test_letters_of_unknown_positions_have_ids_of_their_own_that_do_not_change() -> None:
    tasks = [f"task_{n}" for n in range(20)]
    lives = [a_late_life(task, hold=n % 2 == 0) for n, task in enumerate(tasks)]
    origins = [origin for life in lives for origin, _ in letters_of(life)]

    ids = [dead_letter_id(origin, GROUP) for origin in origins]
    again = [dead_letter_id(o, GROUP) for life in lives for o, _ in letters_of(life)]
    assert len(set(ids)) == len(tasks)
    assert ids == again
