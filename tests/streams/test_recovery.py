"""An owner's memory and its undone effects, rebuilt from the log."""

import msgspec
import pytest

from schemas.codec import encode
from schemas.dead_letter import Origin
from schemas.records import EventKind, Millis, TaskEvent, TaskId
from streams.ownership.acceptance import Ownership
from streams.ownership.recovery import REDO_TIMERS_MS, Recovery
from streams.ownership.timers import Timers
from tasks.effects import Broadcast, SendStep
from tests.tasks.builders import ANSWER, CREATED, RESULTS, RULES, START, TASK, Life, a_life


def a_marker(epoch: int, owner: str) -> TaskEvent:
    return TaskEvent(
        event_id=f"{epoch}/{owner}",
        task_id=TaskId(""),
        tenant_id="",
        kind=EventKind.OWNERSHIP_TAKEN,
        occurred_at=START,
        owner=owner,
        owner_epoch=epoch,
    )


def by(owner: str, epoch: int, events: list[TaskEvent]) -> list[TaskEvent]:
    return [msgspec.structs.replace(event, owner=owner, owner_epoch=epoch) for event in events]


def a_log(*events: TaskEvent | bytes) -> list[Origin]:
    values = [event if isinstance(event, bytes) else encode(event) for event in events]
    return [
        Origin(
            topic="log",
            partition=0,
            offset=offset,
            timestamp_ms=0,
            key=b"",
            value=value,
            headers=(),
        )
        for offset, value in enumerate(values)
    ]


def recovered(
    log: list[Origin], *, committed: dict[str, int] | None = None, now: int = START
) -> Recovery:
    recovery = Recovery(pipelines=RULES.pipelines, committed=committed or {}, now=Millis(now))
    for record in log:
        recovery.fold(record)
    return recovery


def test_memory_after_recovery_equals_the_memory_before() -> None:
    life = a_life()
    life.started()
    life.succeeded()
    recovery = recovered(a_log(a_marker(1, "a"), *by("a", 1, life.events)))

    assert recovery.tasks == {TASK: life.task}
    assert recovery.ownership == Ownership(1, "a")


def test_the_effects_of_an_event_whose_cause_is_not_committed_are_done_again() -> None:
    life = a_life()
    recovery = recovered(a_log(a_marker(1, "a"), *by("a", 1, life.events)))

    assert [effect for _, effect in recovery.redo()] == life.effects[0]


def test_the_effects_of_an_event_whose_cause_is_committed_are_not_done_again() -> None:
    life = a_life()
    log = a_log(a_marker(1, "a"), *by("a", 1, life.events))

    assert recovered(log, committed={CREATED: 1}).redo() == []


def test_a_command_whose_result_is_in_the_log_is_not_sent_again() -> None:
    life = a_life()
    life.succeeded()
    recovery = recovered(a_log(a_marker(1, "a"), *by("a", 1, life.events)))

    [(_, effect)] = recovery.redo()
    assert isinstance(effect, SendStep)
    assert effect.command.step == "generate"


def test_nothing_is_sent_for_a_task_that_ended() -> None:
    life = a_life()
    life.succeeded()
    life.succeeded(output=ANSWER)
    recovery = recovered(a_log(a_marker(1, "a"), *by("a", 1, life.events)))

    assert recovery.redo() == []


def test_what_a_former_owner_wrote_after_its_successor_is_ignored() -> None:
    life = a_life()
    first, kept = life.events[:], life.task
    life.succeeded()
    zombie = by("a", 1, life.events[1:])
    log = a_log(a_marker(1, "a"), *by("a", 1, first), a_marker(2, "b"), *zombie)

    assert recovered(log).tasks == {TASK: kept}


def test_bytes_in_the_log_that_nobody_can_read_are_passed_over() -> None:
    life = a_life()
    log = a_log(a_marker(1, "a"), b"garbage", *by("a", 1, life.events))

    assert recovered(log).tasks == {TASK: life.task}


def test_a_task_whose_beginning_has_left_the_log_is_passed_over() -> None:
    life = a_life()
    life.succeeded()
    recovery = recovered(a_log(a_marker(4, "a"), *by("a", 4, life.events[1:])))

    assert recovery.tasks == {}


def a_life_that_missed_its_deadline() -> Life:
    life = a_life()
    life.pass_ms(300_000)
    life.deadline()
    return life


@pytest.mark.parametrize(("age_ms", "times"), [(0, 1), (REDO_TIMERS_MS, 0)])
def test_the_effects_of_a_timer_are_done_again_while_they_can_matter(
    age_ms: int, times: int
) -> None:
    life = a_life_that_missed_its_deadline()
    log = a_log(a_marker(1, "a"), *by("a", 1, life.events))
    recovery = recovered(log, committed={CREATED: 1, RESULTS: 1}, now=life.now + age_ms)

    effects = [effect for _, effect in recovery.redo()]
    assert [type(effect) for effect in effects] == [Broadcast] * times


def test_timers_are_rebuilt_from_a_scheduled_retry_and_its_deadline() -> None:
    life = a_life()
    life.failed()
    timers = Timers()
    timers.watch(life.task)

    due_at = life.waiting.due_at
    assert due_at is not None
    assert timers.next_at() == due_at
    assert timers.take_due(Millis(due_at)) == [(due_at, TASK)]
    assert timers.next_at() == life.task.deadline_at


def test_a_task_is_reminded_of_its_deadline_once_however_often_it_changes() -> None:
    life = a_life()
    timers = Timers()
    for _ in range(3):
        timers.watch(life.task)

    assert timers.take_due(life.task.deadline_at) == [(life.task.deadline_at, TASK)]
