"""What is remembered of a task that ended, and for how long."""

import uuid

import pytest
from msgspec.structs import replace

from schemas.records import CommandKind, EventKind, TaskId
from tasks.apply import apply, fold
from tasks.decide import Accepted, Ignored, Rejected
from tasks.decision import Rules
from tasks.identity import born_at
from tasks.inputs import Cause, Created
from tasks.remember import forgettable_at, inputs_are_settled, shrunk
from tests.tasks.builders import (
    BAD_INPUT,
    COMMANDS,
    CREATED,
    RESULTS,
    RULES,
    START,
    TASK,
    Life,
    a_command,
    a_completed_life,
    a_life,
    a_task_created,
)

DAY_MS = 24 * 3600 * 1000


def test_a_completed_task_loses_its_documents_and_keeps_their_hash() -> None:
    task = a_completed_life().task
    small = shrunk(task)

    assert (small.spec.input, small.outputs, small.output) == ("", {}, None)
    assert small.content_hash != ""
    assert (small.sequence, small.run, small.status) == (task.sequence, 1, task.status)


def test_shrinking_twice_changes_nothing() -> None:
    small = shrunk(a_completed_life().task)

    assert shrunk(small) == small


def test_a_task_that_may_be_retried_stays_whole() -> None:
    life = a_life()
    life.failed(BAD_INPUT)

    assert shrunk(life.task) is life.task


def test_a_small_task_still_answers_duplicates_and_commands() -> None:
    life = a_completed_life()
    life.state = shrunk(life.task)

    assert isinstance(life.create(), Ignored)
    refused = life.command(a_command(CommandKind.CANCEL))
    assert isinstance(refused, Accepted)
    assert refused.event.reason == "TASK_NOT_CANCELLABLE"


@pytest.mark.parametrize(("ends", "days"), [("completed", 1), ("failed", 30)])
def test_an_ended_task_is_remembered_for_its_time(ends: str, days: int) -> None:
    life = a_completed_life() if ends == "completed" else a_life()
    if ends == "failed":
        life.failed(BAD_INPUT)

    assert life.task.completed_at is not None
    assert forgettable_at(life.task, RULES) == life.task.completed_at + days * DAY_MS


def test_a_task_that_has_not_ended_is_never_forgotten() -> None:
    assert forgettable_at(a_life().task, RULES) is None


def test_no_task_is_forgotten_before_the_longest_deadline_has_passed() -> None:
    rules = Rules(pipelines=RULES.pipelines, remember_ms=0, remember_failed_ms=0)
    task = a_completed_life().task

    assert task.completed_at is not None
    assert forgettable_at(task, rules) == task.completed_at + rules.max_timeout_ms


def test_a_task_is_kept_while_one_of_its_inputs_may_be_delivered_again() -> None:
    task = a_completed_life().task
    after = {topic: offset + 1 for topic, offset in task.decided.items()}

    assert inputs_are_settled(task, after)
    assert set(task.decided) == {CREATED, RESULTS}
    for topic, offset in task.decided.items():
        assert not inputs_are_settled(task, after | {topic: offset})
        assert not inputs_are_settled(task, {t: o for t, o in after.items() if t != topic})


def test_an_id_of_version_7_tells_its_time() -> None:
    uuid7 = uuid.UUID(int=(START << 80) | (7 << 76) | (2 << 62))

    assert born_at(TaskId(f"task_{uuid7}")) == START
    assert born_at(TaskId(f"task_{uuid.uuid4()}")) is None
    assert born_at(TaskId(str(uuid7))) is None
    assert born_at(TASK) is None


@pytest.mark.parametrize(("age_ms", "refused"), [(DAY_MS, False), (DAY_MS + 1, True)])
def test_an_id_older_than_tasks_are_remembered_is_refused(age_ms: int, refused: bool) -> None:
    life = Life()
    uuid7 = uuid.UUID(int=((life.now - age_ms) << 80) | (7 << 76) | (2 << 62))
    record = a_task_created(task_id=f"task_{uuid7}")
    verdict = life.take(Created(Cause(CREATED, 0, 0), record))

    assert isinstance(verdict, Rejected if refused else Accepted)
    assert not refused or (isinstance(verdict, Rejected) and verdict.code == "TASK_TOO_OLD")


def test_a_created_event_begins_a_new_life_for_a_reader_that_remembers_the_old_one() -> None:
    old, new = a_completed_life(), a_life()

    assert fold(old.task, new.events[0]) == new.task


def test_an_event_that_is_not_the_next_one_changes_nothing() -> None:
    life = a_completed_life()
    state = apply(None, life.events[0])

    assert fold(state, life.events[2]) is state
    assert fold(life.task, life.events[1]) is life.task


def test_of_a_task_that_is_not_remembered_only_a_retry_tells_all() -> None:
    life = a_life()
    life.failed(BAD_INPUT)
    life.command(a_command(CommandKind.RETRY))
    *_, failed, retried = life.events
    known = fold(None, retried)

    assert retried.kind is EventKind.RETRIED
    assert fold(None, failed) is None
    assert known is not None
    assert replace(known, decided=life.task.decided) == life.task
    assert known.decided == {COMMANDS: retried.cause_offset}
