"""An owner's memory and its undone effects, rebuilt from the log."""

import msgspec
import pytest
from msgspec.structs import replace

from schemas.records import EventKind, Millis, TaskEvent, TaskId
from streams.errors import TopicsDifferError
from streams.history.acceptance import Ownership
from streams.ownership.ports import Checkpoint, Committed, Logged, Snapshot, StateRecord
from streams.ownership.recovery import Recovery
from streams.ownership.timers import Timers
from tasks.effects import Broadcast, DeadLetterStep, SendStep
from tasks.task import Task
from tests.tasks.builders import (
    ANSWER,
    CREATED,
    RESULTS,
    RULES,
    START,
    TASK,
    Life,
    a_completed_life,
    a_life,
)


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


def a_log(*events: TaskEvent | None) -> list[Logged]:
    return [Logged(offset, event) for offset, event in enumerate(events)]


def recovered(
    log: list[Logged],
    *state: StateRecord,
    committed: dict[str, int] | None = None,
    committed_by: int | None = 1,
    partitions: int = 1,
) -> Recovery:
    recovery = Recovery(
        pipelines=RULES.pipelines,
        committed={t: Committed(at, committed_by) for t, at in (committed or {}).items()},
        created_topic=CREATED,
        events_topic="log",
        state_topic="state",
        partitions=partitions,
    )
    for record in state:
        recovery.load(record)
    start = recovery.start_at(0)
    for logged in log[start:]:
        recovery.fold(logged)
    return recovery


def a_snapshot(task: Task | None, as_of: int, by: Ownership, offset: int = 0) -> StateRecord:
    return StateRecord(Snapshot(task_id=TASK, task=task, as_of=as_of), by, offset)


def a_checkpoint(
    offset: int, by: Ownership, state_from: int = 0, orphans: dict[str, list[int]] | None = None
) -> StateRecord:
    checkpoint = Checkpoint(
        offset=offset,
        state_from=state_from,
        decided_created=0,
        partitions=1,
        orphans=orphans or {},
    )
    return StateRecord(checkpoint, by, state_from + 1)


def test_inputs_of_forgotten_tasks_are_known_beyond_a_checkpoint() -> None:
    recovery = recovered(a_log(), a_checkpoint(0, Ownership(1, "a"), orphans={CREATED: [3, 5]}))

    assert recovery.orphans == {(CREATED, 3), (CREATED, 5)}


def test_a_takeover_knows_the_traces_of_running_tasks() -> None:
    old, new = ({"traceparent": f"00-{i:032x}-{i:016x}-01"} for i in (1, 2))
    life = a_life()
    snapshot = Snapshot(task_id=TASK, task=life.task, as_of=2, trace=old)
    state = StateRecord(snapshot, Ownership(1, "a"), 0)
    before = a_log(a_marker(1, "a"), *by("a", 1, life.events))
    life.failed()
    event = by("a", 1, life.events)[-1]
    offset = len(before)

    assert recovered(before, state).traces.of(TASK) == old
    # The event of a timer has no trace of its own.
    assert recovered([*before, Logged(offset, event)], state).traces.of(TASK) == old
    assert recovered([*before, Logged(offset, event, new)], state).traces.of(TASK) == new


def test_an_ended_task_keeps_no_trace() -> None:
    trace = {"traceparent": f"00-{1:032x}-{1:016x}-01"}
    events = by("a", 1, a_completed_life().events)
    log = [Logged(0, a_marker(1, "a")), *(Logged(i, e, trace) for i, e in enumerate(events, 1))]

    assert recovered(log).traces.of(TASK) == {}
    assert recovered(log[:-1]).traces.of(TASK) == trace


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


def test_the_effects_of_an_event_whose_cause_only_a_former_owner_committed_are_done_again() -> None:
    # The former owner refused the input, and its commit came after it was deposed.
    life = a_life()
    log = a_log(a_marker(2, "b"), *by("b", 2, life.events))

    assert recovered(log, committed={CREATED: 1}, committed_by=1).redo() != []
    for knows_of_it in (2, 3, None):
        assert recovered(log, committed={CREATED: 1}, committed_by=knows_of_it).redo() == []


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
    log = a_log(a_marker(1, "a"), None, *by("a", 1, life.events))

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


def test_the_effects_of_a_timer_are_done_again_since_the_checkpoint() -> None:
    life = a_life_that_missed_its_deadline()
    log = a_log(a_marker(1, "a"), *by("a", 1, life.events))
    recovery = recovered(log, committed={CREATED: 1, RESULTS: 1})

    assert [type(effect) for _, effect in recovery.redo()] == [Broadcast, DeadLetterStep]


def test_events_below_the_checkpoint_are_not_read() -> None:
    life, owner = a_life(), Ownership(1, "a")
    created = life.task
    life.succeeded()
    log = a_log(a_marker(1, "a"), None, *by("a", 1, life.events[1:]))
    recovery = recovered(log, a_snapshot(created, 2, owner), a_checkpoint(2, owner))

    assert recovery.tasks == {TASK: life.task}
    assert recovery.ownership == owner


def test_an_event_that_its_snapshot_holds_already_is_not_applied_again() -> None:
    life, owner = a_life(), Ownership(1, "a")
    life.succeeded()
    log = a_log(a_marker(1, "a"), *by("a", 1, life.events))
    recovery = recovered(log, a_snapshot(life.task, 3, owner), a_checkpoint(1, owner))

    assert recovery.tasks == {TASK: life.task}
    assert recovery.redo() == []


def test_a_late_snapshot_of_a_former_owner_is_brought_up_to_date() -> None:
    life, former, owner = a_life(), Ownership(1, "a"), Ownership(2, "b")
    created = life.task
    life.succeeded()
    log = a_log(
        a_marker(1, "a"), *by("a", 1, life.events[:1]), a_marker(2, "b"),
        *by("b", 2, life.events[1:]),
    )  # fmt: skip
    recovery = recovered(
        log,
        a_snapshot(life.task, 4, owner, offset=0),
        a_checkpoint(4, owner, state_from=0),
        a_snapshot(created, 2, former, offset=7),
    )

    assert recovery.tasks == {TASK: life.task}
    assert recovery.ownership == owner
    assert TASK in recovery.touched


def test_a_forgotten_task_stays_forgotten() -> None:
    owner = Ownership(1, "a")
    recovery = recovered(
        a_log(a_marker(1, "a")), a_snapshot(a_life().task, 1, owner), a_snapshot(None, 1, owner)
    )

    assert recovery.tasks == {}


def test_the_highest_decided_create_is_remembered_though_its_task_is_not() -> None:
    owner = Ownership(1, "a")
    recovery = recovered(a_log(a_marker(1, "a")), a_checkpoint(1, owner))

    assert recovery.decided_created == 0


def test_a_checkpoint_of_another_number_of_partitions_stops_the_start() -> None:
    with pytest.raises(TopicsDifferError):
        recovered(a_log(), a_checkpoint(0, Ownership(1, "a")), partitions=2)


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


def test_reminders_of_tasks_that_ended_do_not_pile_up() -> None:
    running, ended = a_life().task, a_completed_life().task
    timers = Timers()
    timers.watch(running)
    for number in range(10_000):
        name = TaskId(f"t{number}")
        for task in (running, ended):
            timers.watch(replace(task, spec=msgspec.structs.replace(task.spec, task_id=name)))

    assert len(timers) < 2_000
    assert (running.deadline_at, TASK) in timers.take_due(running.deadline_at)
