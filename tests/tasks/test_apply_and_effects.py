"""The fold needs nothing but events; effects are the same whenever they are made."""

import msgspec
import pytest
from msgspec.structs import replace

from schemas.codec import encode
from schemas.records import CommandKind, ControlKind, EventKind, Lane, TaskEvent
from tasks.apply import SequenceError, apply
from tasks.decide import Accepted
from tasks.effects import Broadcast, DeadLetterStep, SendStep, due_command, effects
from tasks.pipeline import Pipelines, PipelineUnknownError
from tasks.task import Task
from tests.tasks.builders import (
    BAD_INPUT,
    CREATED,
    DOCUMENTS,
    RESULTS,
    RULES,
    START,
    UNAVAILABLE,
    Life,
    a_command,
    a_failed_life,
    a_life,
    a_task_created,
    the_event,
)

PIPELINES = RULES.pipelines


def a_retried_life() -> Life:
    life = a_failed_life()
    life.command(a_command(CommandKind.RETRY))
    return life


def test_an_event_that_is_not_the_next_one_stops_the_fold() -> None:
    life = a_life()
    event = life.events[0]

    for sequence in (0, 1, 3):
        with pytest.raises(SequenceError):
            apply(life.task, msgspec.structs.replace(event, sequence=sequence))


def test_a_fold_cannot_begin_in_the_middle_of_a_run() -> None:
    life = a_failed_life()

    for event in life.events[1:]:
        with pytest.raises(SequenceError):
            apply(None, event)
        with pytest.raises(SequenceError):
            apply(None, msgspec.structs.replace(event, sequence=1))


def test_a_fold_can_begin_with_a_retry() -> None:
    life = a_retried_life()

    task = apply(None, life.events[-1])

    assert replace(task, decided=life.task.decided) == life.task


def test_a_state_remembers_the_last_offset_decided_in_each_topic() -> None:
    life = a_life()
    life.started()
    life.succeeded()

    assert life.task.decided == {CREATED: 0, RESULTS: 1}


def test_a_timer_decides_no_offset() -> None:
    life = a_life()
    life.pass_ms(300_000)
    life.deadline()

    assert life.task.decided == {CREATED: 0}


def test_a_phase_of_a_newer_writer_becomes_the_nearest_known_one() -> None:
    life = a_life()
    life.started()
    event = msgspec.structs.replace(life.events[-1], phase="dreaming", sequence=3)

    assert apply(life.task, event).phase == "step_running"


def test_a_state_survives_a_snapshot() -> None:
    for life in (a_life(), a_failed_life(), a_retried_life()):
        text = msgspec.json.encode(life.task)

        assert msgspec.json.decode(text, type=Task) == life.task


def test_every_event_can_be_encoded() -> None:
    life = a_retried_life()
    life.failed(UNAVAILABLE)

    assert all(len(encode(event)) <= len(msgspec.json.encode(event)) for event in life.events)


def test_a_created_task_sends_its_first_step() -> None:
    life = a_life(a_task_created(priority=8, conversation_id="talk"))

    [[effect]] = life.effects

    assert isinstance(effect, SendStep)
    command = effect.command
    assert effect.lane is Lane.HIGH
    assert (command.command_id, command.service, command.method) == (
        "task_1/1/retrieve/1",
        "retrieval-service",
        "Retrieve",
    )
    assert (command.attempt, command.max_attempts, command.timeout_ms) == (1, 4, 10_000)
    assert (command.dispatched_at, command.deadline_at) == (START, START + 300_000)
    assert (command.priority, command.conversation_id) == (8, "talk")
    assert (command.pipeline, command.pipeline_version, command.step_index) == ("rag", 1, 0)


def test_a_scheduled_retry_sends_nothing_until_it_is_due() -> None:
    life = a_life()
    life.pass_ms(30)
    life.failed(UNAVAILABLE)

    effect = due_command(life.task, PIPELINES)

    assert life.effects[-1] == []
    assert (effect.command.command_id, effect.command.attempt) == ("task_1/1/retrieve/2", 2)
    assert effect.command.dispatched_at == START + 30
    assert effect.lane is Lane.NORMAL


def test_a_due_command_is_the_same_after_it_started() -> None:
    life = a_life()
    life.failed(UNAVAILABLE)
    sent = due_command(life.task, PIPELINES)
    life.pass_ms(700)

    life.started()

    assert due_command(life.task, PIPELINES) == sent


def test_a_task_that_waits_for_no_attempt_has_no_due_command() -> None:
    with pytest.raises(ValueError, match="waits for no attempt"):
        due_command(a_failed_life().task, PIPELINES)


def test_a_step_that_failed_for_good_is_dead_lettered_as_it_was_sent() -> None:
    life = a_life()
    [[sent]] = life.effects
    event = the_event(life.failed(BAD_INPUT))

    [effect] = life.effects[-1]

    assert isinstance(effect, DeadLetterStep)
    assert isinstance(sent, SendStep)
    assert encode(effect.command) == encode(sent.command)
    assert (effect.error.code, effect.event) == ("BAD_INPUT", event)


def test_a_dead_lettered_step_is_the_one_that_was_sent_also_after_it_changed_lanes() -> None:
    life = a_life()
    [[sent]] = life.effects
    life.pass_ms(5)
    life.command(a_command(CommandKind.SET_PRIORITY, priority=10))
    life.failed(BAD_INPUT)

    [effect] = life.effects[-1]

    assert isinstance(effect, DeadLetterStep)
    assert isinstance(sent, SendStep)
    assert effect.command == sent.command


def test_a_cancel_is_broadcast_when_a_step_is_outstanding() -> None:
    life = a_life()
    life.started()
    life.command(a_command(CommandKind.CANCEL))

    [effect] = life.effects[-1]

    assert isinstance(effect, Broadcast)
    control = effect.control
    assert (control.kind, control.task_id, control.run) == (ControlKind.CANCEL, "task_1", 1)
    assert (control.reason, control.at) == ("TASK_CANCELLED", START)


def test_a_deadline_is_broadcast_and_its_outstanding_step_is_dead_lettered_as_it_was_sent() -> None:
    life = a_life()
    [[sent]] = life.effects
    life.pass_ms(300_000)
    life.deadline()

    [told, dead_lettered] = life.effects[-1]

    assert isinstance(told, Broadcast)
    assert told.control.kind is ControlKind.DEADLINE
    assert isinstance(sent, SendStep)
    assert isinstance(dead_lettered, DeadLetterStep)
    assert encode(dead_lettered.command) == encode(sent.command)
    assert (dead_lettered.error.code, dead_lettered.event) == ("DEADLINE_EXCEEDED", life.events[-1])


def test_between_two_attempts_a_deadline_dead_letters_the_attempt_that_was_due() -> None:
    life = a_life()
    life.failed(UNAVAILABLE)
    due = due_command(life.task, PIPELINES)
    life.pass_ms(300_000)
    life.deadline()

    [_, dead_lettered] = life.effects[-1]

    assert isinstance(dead_lettered, DeadLetterStep)
    assert (dead_lettered.command, dead_lettered.command.attempt) == (due.command, 2)


def test_of_a_held_task_a_deadline_dead_letters_the_command_that_it_would_have_begun_with() -> None:
    held, begun = a_life(a_task_created(hold=True)), a_life()
    [[sent]] = begun.effects
    held.pass_ms(300_000)
    held.deadline()

    [dead_lettered] = held.effects[-1]

    assert isinstance(sent, SendStep)
    assert isinstance(dead_lettered, DeadLetterStep)
    at = held.events[-1].occurred_at
    assert dead_lettered.command == msgspec.structs.replace(sent.command, dispatched_at=at)


def test_without_its_pipeline_a_late_task_is_failed_and_not_dead_lettered() -> None:
    for held in (False, True):
        life = a_life(a_task_created(hold=held))
        before = life.task
        life.pass_ms(300_000)
        life.deadline()

        made = effects(before, life.events[-1], life.task, Pipelines([]))

        assert not [effect for effect in made if isinstance(effect, DeadLetterStep)]
        assert bool(made) is not held


def test_a_held_task_that_is_cancelled_ends_without_effects() -> None:
    life = a_life(a_task_created(hold=True))
    life.command(a_command(CommandKind.CANCEL))

    assert life.effects == [[], []]


def test_a_refusal_has_no_effects() -> None:
    life = a_failed_life()
    life.command(a_command(CommandKind.CANCEL))

    assert life.events[-1].kind == "command_refused"
    assert life.effects[-1] == []


def test_a_command_of_a_pipeline_that_is_gone_cannot_be_made() -> None:
    life = a_life()

    with pytest.raises(PipelineUnknownError, match="rag version 1"):
        effects(None, life.events[0], life.task, Pipelines([]))
    with pytest.raises(PipelineUnknownError):
        due_command(life.task, Pipelines([]))


def test_an_event_with_a_result_but_no_task_is_not_mistaken_for_a_beginning() -> None:
    event = TaskEvent(
        event_id="task_1/1",
        task_id=a_life().task.task_id,
        tenant_id="acme",
        kind=EventKind.CREATED,
        sequence=1,
        occurred_at=START,
    )

    with pytest.raises(SequenceError):
        apply(None, event)


def test_the_output_of_a_failed_step_is_not_kept() -> None:
    life = a_life()

    assert isinstance(life.succeeded('{"no":"documents"}'), Accepted)
    assert dict(life.task.outputs) == {}


def test_an_output_counts_only_if_its_step_succeeded() -> None:
    life = a_life()
    event = the_event(life.failed(BAD_INPUT))
    assert event.step is not None
    step = msgspec.structs.replace(event.step, output=DOCUMENTS)

    task = apply(apply(None, life.events[0]), msgspec.structs.replace(event, step=step))

    assert dict(task.outputs) == {}


def test_the_outputs_of_a_completed_task_are_all_there() -> None:
    life = a_life()
    life.succeeded(DOCUMENTS)
    life.succeeded("1")

    assert dict(life.task.outputs) == {"retrieve": DOCUMENTS, "generate": "1"}
