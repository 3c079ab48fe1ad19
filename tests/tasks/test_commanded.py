"""Orders are carried out or refused, and the answer is in the log either way."""

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from schemas.limits import Limits
from schemas.records import CommandKind, Lane, TaskCommand
from tasks.decide import Ignored, Rejected
from tasks.effects import SendStep
from tasks.inputs import Cause, Commanded
from tests.tasks.builders import (
    ANSWER,
    BAD_INPUT,
    COMMANDS,
    DOCUMENTS,
    RULES,
    START,
    Life,
    a_command,
    a_completed_life,
    a_failed_life,
    a_life,
    a_task_created,
    the_event,
)

EXECUTE = a_command(CommandKind.EXECUTE)
CANCEL = a_command(CommandKind.CANCEL, reason="changed my mind")
RETRY = a_command(CommandKind.RETRY)


def a_held_life() -> Life:
    return a_life(a_task_created(hold=True))


def a_running_life() -> Life:
    life = a_life()
    life.started()
    return life


def a_waiting_life() -> Life:
    """Its next attempt is due in half a second."""
    life = a_life()
    life.failed()
    return life


def a_cancelled_life() -> Life:
    life = a_life()
    life.command(CANCEL)
    return life


def refusal(life: Life, command: TaskCommand) -> str | None:
    before = life.task
    event = the_event(life.command(command))
    assert event.kind == "command_refused"
    assert (event.status, event.phase) == (before.status, before.phase)
    assert event.cause_topic == COMMANDS
    assert (
        msgspec.structs.replace(life.task, sequence=before.sequence, decided=before.decided)
        == before
    )
    return event.reason


def test_execute_queues_a_held_task() -> None:
    life = a_held_life()

    event = the_event(life.command(EXECUTE))

    assert (event.kind, event.status, event.phase) == ("execute_requested", "pending", "queued")
    assert [step.command_id for step in event.dispatched] == ["task_1/1/retrieve/1"]
    assert event.actor == "ada"


def test_execute_of_a_queued_task_succeeds_and_dispatches_nothing() -> None:
    life = a_life()
    before = life.waiting

    event = the_event(life.command(EXECUTE))

    assert (event.kind, event.phase, event.dispatched) == ("execute_requested", "queued", [])
    assert life.waiting == before


@pytest.mark.parametrize("make", [a_running_life, a_waiting_life, a_completed_life, a_failed_life])
def test_execute_of_any_other_task_is_refused(make: Callable[[], Life]) -> None:
    life = make()
    assert refusal(life, EXECUTE) == "TASK_NOT_PENDING"


def test_execute_between_two_steps_is_refused() -> None:
    life = a_life()
    life.succeeded()

    assert refusal(life, EXECUTE) == "TASK_NOT_PENDING"


@pytest.mark.parametrize("make", [a_held_life, a_life, a_running_life, a_waiting_life])
def test_cancel_ends_a_task_that_has_not_ended(make: Callable[[], Life]) -> None:
    life = make()
    event = the_event(life.command(CANCEL))

    assert (event.kind, event.status, event.phase) == ("cancelled", "cancelled", "cancelled")
    assert event.error is not None
    assert (event.error.code, event.error.category) == ("TASK_CANCELLED", "cancelled")
    assert (event.actor, event.reason) == ("ada", "changed my mind")
    assert life.task.outstanding is None
    assert life.task.completed_at == START


def test_a_cancelled_task_tells_which_step_it_abandoned() -> None:
    life = a_running_life()

    step = the_event(life.command(CANCEL)).step

    assert step is not None
    assert (step.name, step.status, step.attempt) == ("retrieve", "cancelled", 1)
    assert (step.command_topic, step.command_offset) == ("", -1)


def test_cancel_of_a_cancelled_task_changes_nothing_and_is_answered() -> None:
    assert refusal(a_cancelled_life(), CANCEL) == "TASK_ALREADY_CANCELLED"


@pytest.mark.parametrize("make", [a_completed_life, a_failed_life])
def test_cancel_of_an_ended_task_is_refused(make: Callable[[], Life]) -> None:
    life = make()
    assert refusal(life, CANCEL) == "TASK_NOT_CANCELLABLE"


@pytest.mark.parametrize("priority", [None, -1, 11, 2**31 - 1])
def test_a_priority_out_of_range_is_refused(priority: int | None) -> None:
    command = a_command(CommandKind.SET_PRIORITY, priority=priority)

    assert refusal(a_life(), command) == "PRIORITY_OUT_OF_RANGE"


def test_the_priority_of_an_ended_task_stays() -> None:
    command = a_command(CommandKind.SET_PRIORITY, priority=9)

    assert refusal(a_completed_life(), command) == "TASK_ALREADY_ENDED"


def test_a_new_priority_moves_a_waiting_step_to_its_lane() -> None:
    life = a_life()
    [sent] = life.effects[0]
    life.pass_ms(10)

    event = the_event(life.command(a_command(CommandKind.SET_PRIORITY, priority=9)))

    assert (event.kind, event.priority, event.phase) == ("priority_changed", 9, "queued")
    assert [step.lane for step in event.dispatched] == [Lane.HIGH]
    [moved] = life.effects[-1]
    assert isinstance(sent, SendStep)
    assert isinstance(moved, SendStep)
    assert (moved.lane, sent.lane) == (Lane.HIGH, Lane.NORMAL)
    assert moved.command == sent.command


def test_a_new_priority_within_a_lane_sends_nothing() -> None:
    life = a_life()

    event = the_event(life.command(a_command(CommandKind.SET_PRIORITY, priority=6)))

    assert (event.priority, event.dispatched) == (6, [])
    assert life.task.priority == 6


def test_a_running_step_is_not_sent_again() -> None:
    life = a_running_life()

    event = the_event(life.command(a_command(CommandKind.SET_PRIORITY, priority=9)))

    assert (event.phase, event.dispatched) == ("step_running", [])


def test_the_next_step_uses_the_new_lane() -> None:
    life = a_running_life()
    life.command(a_command(CommandKind.SET_PRIORITY, priority=0))

    event = the_event(life.succeeded())

    assert [step.lane for step in event.dispatched] == [Lane.LOW]


def test_a_retry_that_is_not_due_yet_will_use_the_new_lane() -> None:
    life = a_waiting_life()

    event = the_event(life.command(a_command(CommandKind.SET_PRIORITY, priority=9)))

    assert (event.phase, event.dispatched) == ("retry_scheduled", [])
    assert (life.waiting.lane, life.waiting.due_at) == (Lane.HIGH, START + 500)


def test_a_retry_that_may_have_been_sent_is_sent_to_the_new_lane_too() -> None:
    life = a_waiting_life()
    life.pass_ms(500)

    event = the_event(life.command(a_command(CommandKind.SET_PRIORITY, priority=9)))

    assert event.phase == "queued"
    assert [step.command_id for step in event.dispatched] == ["task_1/1/retrieve/2"]
    assert life.waiting.due_at is None


def test_a_held_task_that_got_another_priority_starts_in_its_lane() -> None:
    life = a_held_life()
    life.command(a_command(CommandKind.SET_PRIORITY, priority=9))

    event = the_event(life.command(EXECUTE))

    assert [step.lane for step in event.dispatched] == [Lane.HIGH]


def test_a_retry_begins_a_run_at_the_first_step_without_a_result() -> None:
    life = a_failed_life()
    life.pass_ms(1_000_000)

    event = the_event(life.command(RETRY))

    assert (event.kind, event.status, event.phase, event.run) == ("retried", "pending", "queued", 2)
    assert [step.command_id for step in event.dispatched] == ["task_1/2/generate/1"]
    assert event.task is not None
    assert event.task.kept_outputs == {"retrieve": DOCUMENTS}
    assert event.task.deadline_at == START + 1_000_000 + 300_000


def test_a_retried_task_can_complete() -> None:
    life = a_failed_life()
    life.command(RETRY)

    event = the_event(life.succeeded(ANSWER))

    assert (event.kind, event.run, life.task.error) == ("completed", 2, None)


def test_a_retry_keeps_the_priority_that_the_task_has_now() -> None:
    life = a_life()
    life.command(a_command(CommandKind.SET_PRIORITY, priority=9))
    life.failed(BAD_INPUT)

    event = the_event(life.command(RETRY))

    assert event.task is not None
    assert (event.priority, event.task.priority) == (9, 9)
    assert event.dispatched[0].lane is Lane.HIGH


def test_a_retry_of_a_task_that_was_cancelled_while_held_runs_it() -> None:
    life = a_held_life()
    life.command(CANCEL)

    event = the_event(life.command(RETRY))

    assert event.task is not None
    assert (event.phase, event.task.hold) == ("queued", False)


def test_a_retry_from_an_earlier_step_drops_the_outputs_from_there() -> None:
    life = a_failed_life()

    event = the_event(life.command(a_command(CommandKind.RETRY, from_step="retrieve")))

    assert event.task is not None
    assert event.task.kept_outputs == {}
    assert [step.command_id for step in event.dispatched] == ["task_1/2/retrieve/1"]


@pytest.mark.parametrize("from_step", ["dance", "generate"])
def test_a_retry_from_a_step_that_cannot_be_reached_is_refused(from_step: str) -> None:
    life = a_life()
    life.failed(BAD_INPUT)

    assert refusal(life, a_command(CommandKind.RETRY, from_step=from_step)) == "STEP_UNKNOWN"


@pytest.mark.parametrize("make", [a_held_life, a_life, a_running_life, a_completed_life])
def test_only_failed_and_cancelled_tasks_can_be_retried(make: Callable[[], Life]) -> None:
    life = make()
    assert refusal(life, RETRY) == "TASK_NOT_RETRIABLE"


def test_a_retry_that_means_the_present_run_is_carried_out() -> None:
    life = a_failed_life()

    assert the_event(life.command(a_command(CommandKind.RETRY, run=1))).run == 2


@pytest.mark.parametrize("run", [0, 2, -5])
def test_a_retry_that_means_another_run_decides_to_nothing(run: int) -> None:
    life = a_failed_life()

    assert life.command(a_command(CommandKind.RETRY, run=run)) == Ignored("other_run")


def test_a_retry_that_does_not_fit_into_one_event_is_refused() -> None:
    life = a_failed_life()
    life.rules = replace(RULES, limits=Limits(record_max_bytes=50, event_max_bytes=200))

    assert refusal(life, RETRY) == "TASK_TOO_LARGE"


def test_a_retry_of_a_pipeline_that_is_gone_is_refused() -> None:
    life = a_failed_life()
    spec = msgspec.structs.replace(life.task.spec, pipeline_version=9)
    life.state = msgspec.structs.replace(life.task, spec=spec)

    assert refusal(life, RETRY) == "PIPELINE_VERSION_UNKNOWN"


def test_a_command_of_an_unknown_kind_is_refused() -> None:
    assert refusal(a_life(), a_command(CommandKind.UNKNOWN)) == "COMMAND_KIND_UNKNOWN"


def test_a_command_for_an_unknown_task_is_rejected() -> None:
    decision = Life().command(CANCEL)

    assert isinstance(decision, Rejected)
    assert decision.code == "TASK_UNKNOWN"


@pytest.mark.parametrize("tenant_id", ["", "umbrella"])
def test_a_command_of_another_tenant_is_rejected(tenant_id: str) -> None:
    decision = a_life().command(a_command(CommandKind.CANCEL, tenant_id=tenant_id))

    assert isinstance(decision, Rejected)
    assert decision.code == "TENANT_MISMATCH"


def test_a_command_that_is_delivered_again_is_a_duplicate() -> None:
    life = a_life()
    given = Commanded(Cause(COMMANDS, 3, 4), CANCEL)
    life.take(given)

    assert life.take(given) == Ignored("duplicate")


def test_what_an_actor_says_is_made_storable() -> None:
    command = a_command(CommandKind.CANCEL, actor="a\0" + "x" * 500, reason="r\0" + "y" * 5000)

    event = the_event(a_life().command(command))

    assert event.actor is not None
    assert event.reason is not None
    assert (event.actor[:2], len(event.actor)) == ("a\ufffd", 200)
    assert (event.reason[:2], len(event.reason)) == ("r\ufffd", 2000)


def test_the_deadline_ends_a_task_that_waits_or_runs() -> None:
    for make in (a_held_life, a_life, a_running_life, a_waiting_life):
        life = make()
        life.pass_ms(300_000)

        event = the_event(life.deadline())

        assert (event.kind, event.status) == ("failed", "failed")
        assert event.error is not None
        assert (event.error.code, event.error.category) == ("DEADLINE_EXCEEDED", "timeout")
        assert (event.cause_topic, event.cause_partition, event.cause_offset) == ("", -1, -1)


def test_a_deadline_that_has_not_passed_is_ignored() -> None:
    life = a_life()
    life.pass_ms(299_999)

    assert life.deadline() == Ignored("not_due")


@pytest.mark.parametrize("make", [a_completed_life, a_failed_life, a_cancelled_life])
def test_an_ended_task_has_no_deadline(make: Callable[[], Life]) -> None:
    life = make()
    life.pass_ms(300_000)

    assert life.deadline() == Ignored("already_ended")


def test_the_deadline_of_an_unknown_task_is_ignored() -> None:
    assert Life().deadline() == Ignored("unknown_task_deadline")


def test_a_retry_gets_a_fresh_deadline() -> None:
    life = a_life()
    life.pass_ms(300_000)
    life.deadline()
    life.command(RETRY)

    assert life.deadline() == Ignored("not_due")
