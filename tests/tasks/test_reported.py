"""Results move a task through its steps; only the awaited attempt counts."""

from dataclasses import replace

import msgspec
import pytest

from schemas.limits import Limits
from schemas.records import (
    CommandId,
    CommandKind,
    Error,
    ErrorCategory,
    Json,
    Millis,
    ResultKind,
    SubStep,
    TaskEvent,
    Usage,
)
from tasks.decide import Accepted, Ignored, Rejected
from tasks.deciding.dispatch import fill
from tasks.inputs import Cause, Reported
from tasks.template import Items, Path, Reference
from tests.tasks.builders import (
    ANSWER,
    BAD_INPUT,
    DOCUMENTS,
    RESULTS,
    RULES,
    START,
    UNAVAILABLE,
    a_command,
    a_completed_life,
    a_failed_life,
    a_life,
    a_result,
    a_task_created,
    the_event,
)


def the_error(event: TaskEvent) -> Error:
    assert event.error is not None
    return event.error


def test_a_rag_task_completes_with_the_output_of_its_last_step() -> None:
    life = a_completed_life()

    assert [event.kind for event in life.events] == ["created", "step_succeeded", "completed"]
    assert (life.task.status, life.task.phase) == ("completed", "completed")
    assert life.task.output == ANSWER
    assert life.task.completed_at == START


def test_a_step_gets_the_output_of_an_earlier_one() -> None:
    life = a_life()

    event = the_event(life.succeeded(DOCUMENTS))

    assert (event.status, event.phase) == ("running", "queued")
    assert [step.command_id for step in event.dispatched] == ["task_1/1/generate/1"]
    assert event.dispatched[0].input == '{"query":"why?","documents":[{"id":"a"}]}'
    assert event.dispatched[0].step_index == 1


def test_an_event_tells_what_the_worker_reported() -> None:
    life = a_life()
    life.pass_ms(50)

    step = the_event(life.succeeded(DOCUMENTS, usage=Usage(model="m", input_tokens=3))).step

    assert step is not None
    assert (step.name, step.status, step.attempt, step.service) == (
        "retrieve",
        "succeeded",
        1,
        "retrieval-service",
    )
    assert (step.output, step.usage) == (DOCUMENTS, Usage(model="m", input_tokens=3))
    assert (step.started_at, step.completed_at, step.worker) == (START, START + 50, "worker-1")
    assert (step.command_partition, step.command_offset) == (3, 17)
    assert step.command_topic == "orchestrator.steps.retrieve.normal.v1"


def test_the_first_start_makes_a_task_run() -> None:
    life = a_life()

    event = the_event(life.started())

    assert (event.kind, event.status, event.phase) == ("started", "running", "step_running")
    assert life.task.started_at == START


def test_a_second_start_of_an_attempt_is_ignored() -> None:
    life = a_life()
    life.started()

    assert life.started() == Ignored("already_started")


def test_every_step_can_report_that_it_started() -> None:
    life = a_life()
    life.started()
    life.pass_ms(10)
    life.succeeded()

    event = the_event(life.started())

    assert (event.kind, event.phase) == ("started", "step_running")
    assert life.task.started_at == START


def test_a_success_implies_a_start() -> None:
    life = a_life()

    life.succeeded()

    assert (life.task.status, life.task.started_at) == ("running", START)


def test_a_retriable_failure_schedules_the_next_attempt() -> None:
    life = a_life()

    event = the_event(life.failed(UNAVAILABLE))

    assert (event.kind, event.status, event.phase) == (
        "step_retry_scheduled",
        "running",
        "retry_scheduled",
    )
    assert event.step is not None
    assert (event.step.attempt, event.step.next_attempt_at) == (1, START + 500)
    assert event.dispatched == []
    assert (life.waiting.attempt, life.waiting.due_at) == (2, START + 500)
    assert life.waiting.command_id == "task_1/1/retrieve/2"
    assert life.waiting.dispatched_at == START


def test_delays_double_and_the_fourth_failure_is_final() -> None:
    life = a_life()

    due = []
    for _ in range(3):
        life.failed(UNAVAILABLE)
        due.append(life.waiting.due_at)
    event = the_event(life.failed(UNAVAILABLE))

    assert due == [START + 500, START + 1000, START + 2000]
    assert (event.kind, the_error(event).code) == ("failed", "UNAVAILABLE")
    assert (event.step.attempt if event.step else None) == 4


def test_a_failure_that_is_not_retriable_is_final() -> None:
    life = a_life()

    event = the_event(life.failed(BAD_INPUT))

    assert (event.kind, event.status, event.phase) == ("failed", "failed", "failed")
    assert the_error(event).code == "BAD_INPUT"
    assert life.task.error == event.error


def test_retry_after_is_a_lower_bound() -> None:
    life = a_life()

    life.failed(UNAVAILABLE, retry_after_ms=60_000)

    assert life.waiting.due_at == START + 60_000


@pytest.mark.parametrize("retry_after_ms", [300_000, 2**63 - 1])
def test_a_retry_that_would_be_due_at_the_deadline_or_later_fails(retry_after_ms: int) -> None:
    life = a_life()

    event = the_event(life.failed(UNAVAILABLE, retry_after_ms=retry_after_ms))

    assert event.kind == "failed"
    assert the_error(event).retriable


def test_a_retry_that_is_due_a_moment_before_the_deadline_is_scheduled() -> None:
    life = a_life()

    event = the_event(life.failed(UNAVAILABLE, retry_after_ms=299_999))

    assert event.kind == "step_retry_scheduled"


def test_a_retried_attempt_can_start_and_succeed_without_another_event() -> None:
    life = a_life()
    life.failed(UNAVAILABLE)

    assert the_event(life.started()).phase == "step_running"
    assert life.waiting.due_at is None
    assert the_event(life.succeeded()).kind == "step_succeeded"


def test_a_cancelled_attempt_that_still_counts_is_a_transient_failure() -> None:
    life = a_life()

    event = the_event(life.report(a_result(life.waiting, ResultKind.CANCELLED)))

    assert event.kind == "step_retry_scheduled"
    assert event.step is not None
    assert event.step.error is not None
    assert (event.step.error.code, event.step.error.retriable) == ("ATTEMPT_CANCELLED", True)


def test_a_cancelled_attempt_is_retried_whatever_its_error_says() -> None:
    life = a_life()
    error = Error(code="DEADLINE_EXCEEDED", category=ErrorCategory.TIMEOUT)

    event = the_event(life.report(a_result(life.waiting, ResultKind.CANCELLED, error=error)))

    assert event.kind == "step_retry_scheduled"


def test_a_result_of_a_former_attempt_is_late() -> None:
    life = a_life()
    first = life.waiting
    life.failed(UNAVAILABLE)

    decision = life.report(a_result(first, ResultKind.SUCCEEDED, output=DOCUMENTS))

    assert decision == Ignored("late_result")


def test_a_result_of_an_ended_task_is_late() -> None:
    life = a_life()
    awaited = life.waiting
    life.command(a_command(CommandKind.CANCEL))

    decision = life.report(a_result(awaited, ResultKind.SUCCEEDED, output=DOCUMENTS))

    assert decision == Ignored("late_result")


def test_a_result_of_a_former_run_is_late() -> None:
    life = a_life()
    first = life.waiting
    life.command(a_command(CommandKind.CANCEL))
    life.command(a_command(CommandKind.RETRY))

    decision = life.report(a_result(first, ResultKind.SUCCEEDED, output=DOCUMENTS))

    assert decision == Ignored("late_result")


def test_a_result_of_an_unknown_task_is_ignored() -> None:
    result = a_result(a_life().waiting, ResultKind.SUCCEEDED)
    life = a_life()
    life.state = None

    assert life.report(result) == Ignored("unknown_task_result")


def test_a_result_that_is_delivered_again_is_a_duplicate() -> None:
    life = a_life()
    given = Reported(Cause(RESULTS, 3, 7), a_result(life.waiting, ResultKind.STARTED))
    life.take(given)

    assert life.take(given) == Ignored("duplicate")


def test_an_input_below_the_last_decided_offset_is_a_duplicate() -> None:
    life = a_life()
    life.take(Reported(Cause(RESULTS, 3, 7), a_result(life.waiting, ResultKind.STARTED)))

    earlier = Reported(Cause(RESULTS, 3, 6), a_result(life.waiting, ResultKind.SUCCEEDED))

    assert life.take(earlier) == Ignored("duplicate")


def test_a_result_of_a_kind_that_is_not_known_is_rejected() -> None:
    life = a_life()

    decision = life.report(a_result(life.waiting, ResultKind.UNKNOWN))

    assert isinstance(decision, Rejected)
    assert decision.code == "RESULT_KIND_UNKNOWN"


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("", "OUTPUT_NOT_STORABLE"),
        ("{", "OUTPUT_NOT_STORABLE"),
        ('"\\u0000"', "OUTPUT_NOT_STORABLE"),
        ('{"score":NaN}', "OUTPUT_NOT_STORABLE"),
        ("[" * 100_000, "OUTPUT_NOT_STORABLE"),
        ('"' + "x" * 256 * 1024 + '"', "OUTPUT_TOO_LARGE"),
        ('{"answer":"no documents"}', "STEP_INPUT_INCOMPLETE"),
        ("[]", "STEP_INPUT_INCOMPLETE"),
        ("null", "STEP_INPUT_INCOMPLETE"),
        ('{"documents":' + "[" * 63 + "]" * 63 + "}", "step_succeeded"),
        ('{"documents":"' + "x" * (256 * 1024 - 20) + '"}', "STEP_INPUT_TOO_LARGE"),
    ],
)
def test_an_output_that_leads_nowhere_fails_its_step(output: str, code: str) -> None:
    life = a_life()

    event = the_event(life.succeeded(output))

    assert (event.error.code if event.error else event.kind) == code
    assert event.step is not None
    assert event.step.output is None or event.kind == "step_succeeded"


def test_a_last_step_may_give_any_json_value() -> None:
    life = a_life()
    life.succeeded(DOCUMENTS)

    event = the_event(life.succeeded("[1, 2]"))

    assert (event.kind, event.output) == ("completed", "[1, 2]")


def test_a_success_without_output_gives_null() -> None:
    life = a_life()
    life.succeeded(DOCUMENTS)

    event = the_event(life.report(a_result(life.waiting, ResultKind.SUCCEEDED)))

    assert (event.kind, event.output) == ("completed", "null")


def test_an_output_that_makes_the_event_too_large_fails_the_step() -> None:
    limits = Limits(record_max_bytes=2000, event_max_bytes=20_000)
    life = a_life(rules=replace(RULES, limits=limits))

    event = the_event(life.succeeded('{"documents":"' + "x" * 10_000 + '"}'))

    assert the_error(event).code == "OUTPUT_TOO_LARGE"
    assert event.step is not None
    assert event.step.output is None


def test_an_output_that_makes_the_whole_task_too_large_fails_the_step() -> None:
    limits = Limits(record_max_bytes=2000, event_max_bytes=30_000)
    padded = '{"query":"why?","pad":"' + "x" * 14_000 + '"}'
    life = a_life(a_task_created(given=padded), rules=replace(RULES, limits=limits))

    event = the_event(life.succeeded(DOCUMENTS))

    assert the_error(event).code == "OUTPUT_TOO_LARGE"


def test_a_built_document_may_not_be_deeper_than_one_from_outside() -> None:
    spec = a_life(a_task_created(given='{"query":' + "[" * 63 + "]" * 63 + "}")).task.spec
    whole = Reference(Path("input", ()))

    as_it_is = fill(whole, spec, {}, what="input", max_bytes=1000)
    wrapped = fill(Items((whole,)), spec, {}, what="input", max_bytes=1000)

    assert as_it_is == spec.input
    assert isinstance(wrapped, Error)
    assert wrapped.code == "STEP_INPUT_TOO_LARGE"


def test_substeps_that_make_a_failure_too_large_are_left_out() -> None:
    limits = Limits(record_max_bytes=2000, event_max_bytes=20_000)
    life = a_life(rules=replace(RULES, limits=limits))
    substep = SubStep(name="search", output=Json('"' + "x" * 30_000 + '"'), started_at=START)
    result = a_result(life.waiting, ResultKind.FAILED, error=BAD_INPUT)

    event = the_event(life.report(msgspec.structs.replace(result, substeps=[substep])))

    assert event.step is not None
    assert event.step.substeps == []


def test_usage_of_every_applied_attempt_is_summed() -> None:
    life = a_life()
    once = Usage(model="m", input_tokens=10, output_tokens=1, cost_micros=7)
    life.report(a_result(life.waiting, ResultKind.FAILED, error=UNAVAILABLE, usage=once))
    life.succeeded(DOCUMENTS, usage=once)

    event = the_event(life.succeeded(ANSWER, usage=Usage(estimated=True, cost_micros=1)))

    assert event.usage == Usage(
        model="m", input_tokens=20, output_tokens=2, cost_micros=15, estimated=True
    )


def test_usage_of_a_late_result_is_not_summed() -> None:
    life = a_life()
    first = life.waiting
    life.failed(UNAVAILABLE)

    life.report(a_result(first, ResultKind.FAILED, error=UNAVAILABLE, usage=Usage(cost_micros=9)))

    assert life.task.usage == Usage()


def test_usage_can_neither_sink_nor_overflow() -> None:
    life = a_life()
    huge = Usage(input_tokens=2**63 - 1, output_tokens=-5, cost_micros=2**63 - 1)
    life.report(a_result(life.waiting, ResultKind.FAILED, error=UNAVAILABLE, usage=huge))

    usage = the_event(life.succeeded(DOCUMENTS, usage=huge)).usage

    assert usage == Usage(input_tokens=2**63 - 1, cost_micros=2**63 - 1)


def test_a_workers_clock_cannot_place_a_call_before_its_dispatch_or_after_now() -> None:
    life = a_life()
    life.pass_ms(100)
    result = msgspec.structs.replace(
        a_result(life.waiting, ResultKind.SUCCEEDED, output=DOCUMENTS),
        started_at=Millis(-(2**63)),
        completed_at=Millis(2**63 - 1),
    )

    step = the_event(life.report(result)).step

    assert step is not None
    assert (step.started_at, step.completed_at) == (START, START + 100)


def test_what_a_worker_says_is_made_storable() -> None:
    life = a_life()
    error = Error(code="not a code", message="a\0b" + "x" * 10_000)
    substep = SubStep(name="s\0", output=Json('"\\u0000"'), started_at=Millis(2**62))
    result = msgspec.structs.replace(
        a_result(life.waiting, ResultKind.FAILED, error=error),
        substeps=[substep] * 500,
        worker="w\0",
    )

    step = the_event(life.report(result)).step

    assert step is not None
    assert step.error is not None
    assert (step.error.code, step.error.category) == ("STEP_FAILED", "downstream")
    assert (len(step.error.message), step.error.message[:3]) == (2000, "a\ufffdb")
    assert step.error.service == "retrieval-service"
    assert step.worker == "w\ufffd"
    assert len(step.substeps) == 200
    assert step.substeps[0].output == '{"omitted":"TEXT_NOT_STORABLE"}'
    assert step.substeps[0].started_at == START


def test_times_of_events_never_run_backwards() -> None:
    life = a_life()
    life.pass_ms(-5000)

    event = the_event(life.succeeded())

    assert event.occurred_at == START


def test_a_result_for_a_pipeline_that_is_gone_fails_the_task() -> None:
    life = a_life()
    spec = msgspec.structs.replace(life.task.spec, pipeline_version=9)
    life.state = msgspec.structs.replace(life.task, spec=spec)

    event = the_event(life.succeeded())

    assert the_error(event).code == "PIPELINE_VERSION_UNKNOWN"
    assert life.effects[-1] == []


def test_the_result_of_another_command_id_is_late_even_if_all_else_fits() -> None:
    life = a_life()
    result = a_result(life.waiting, ResultKind.SUCCEEDED, output=DOCUMENTS)

    decision = life.report(msgspec.structs.replace(result, command_id=CommandId("task_1/9/x/1")))

    assert decision == Ignored("late_result")


def test_a_failed_task_keeps_the_outputs_that_it_has() -> None:
    life = a_failed_life()

    assert dict(life.task.outputs) == {"retrieve": DOCUMENTS}
    assert isinstance(life.command(a_command(CommandKind.RETRY)), Accepted)
