"""The flood guard: few dead letters, whatever runs at once, and it lets go by itself."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agents.steps.gate.admission import Admission, Change
from agents.steps.gate.flood_guard import (
    Ending,
    FloodGuard,
    FloodGuardSettings,
    ending_of,
)
from schemas.records import (
    CommandId,
    Error,
    ErrorCategory,
    Millis,
    ResultKind,
    StepCommand,
    StepResult,
    TaskId,
)

SETTINGS = FloodGuardSettings()


def run_one(guard: FloodGuard, ending: Ending, *, now_s: float = 0.0) -> Admission:
    admission = guard.admit(last_attempt=True, now_s=now_s)
    if admission is not Admission.WAIT:
        guard.ended(admission, ending, last_attempt=True, now_s=now_s)
    return admission


def a_paused_guard() -> FloodGuard:
    guard = FloodGuard(SETTINGS)
    while not guard.paused:
        run_one(guard, Ending.DEAD_LETTERED)
    return guard


def test_a_service_whose_every_call_fails_leaves_26_dead_letters_then_waits() -> None:
    guard = FloodGuard(SETTINGS)
    admitted = [run_one(guard, Ending.DEAD_LETTERED) for _ in range(200)]

    assert admitted.count(Admission.GO) == 26
    assert guard.paused


@given(slots=st.integers(1, 100), fails=st.lists(st.booleans(), min_size=300, max_size=300))
def test_however_many_run_at_once_at_most_half_a_window_and_one_are_dead_letters_before_a_success(
    slots: int, fails: list[bool]
) -> None:
    guard, dead_lettered_in_a_row = FloodGuard(SETTINGS), 0
    flying: list[Admission] = []
    for fail in fails:
        while len(flying) < slots:
            admission = guard.admit(last_attempt=True, now_s=0.0)
            if admission is Admission.WAIT:
                break
            flying.append(admission)
        if not flying:
            break
        ending = Ending.DEAD_LETTERED if fail else Ending.FINE
        dead_lettered_in_a_row = dead_lettered_in_a_row + 1 if fail else 0
        guard.ended(flying.pop(0), ending, last_attempt=True, now_s=0.0)

        assert dead_lettered_in_a_row <= 26


def test_a_paused_guard_lets_one_probe_through_every_thirty_seconds() -> None:
    guard = a_paused_guard()

    assert guard.next_look_s(10.0) == 20.0
    assert [run_one(guard, Ending.RETRIED, now_s=at) for at in (29.9, 30.0, 59.9, 60.0)] == [
        Admission.WAIT,
        Admission.PROBE,
        Admission.WAIT,
        Admission.PROBE,
    ]


def test_one_probe_that_succeeds_ends_the_pause() -> None:
    guard = a_paused_guard()
    probe = guard.admit(last_attempt=False, now_s=30.0)
    change = guard.ended(probe, Ending.FINE, last_attempt=False, now_s=31.0)

    assert change is Change.RESUMED
    assert guard.admit(last_attempt=True, now_s=31.0) is Admission.GO


def test_what_was_under_way_before_the_pause_does_not_end_it() -> None:
    guard = FloodGuard(SETTINGS)
    early = guard.admit(last_attempt=False, now_s=0.0)
    while not guard.paused:
        run_one(guard, Ending.DEAD_LETTERED)
    guard.ended(early, Ending.FINE, last_attempt=False, now_s=1.0)

    assert guard.paused


def test_no_number_of_poisonous_records_pauses_a_service() -> None:
    guard = FloodGuard(SETTINGS)
    admitted = {run_one(guard, Ending.OTHER) for _ in range(1_000)}

    assert admitted == {Admission.GO}


def test_a_service_that_fails_every_third_execution_goes_on() -> None:
    guard = FloodGuard(SETTINGS)
    endings = [Ending.DEAD_LETTERED, Ending.FINE, Ending.FINE] * 200

    assert {run_one(guard, ending) for ending in endings} == {Admission.GO}


def a_command(attempt: int) -> StepCommand:
    return StepCommand(
        command_id=CommandId("c"),
        task_id=TaskId("t"),
        tenant_id="acme",
        attempt=attempt,
        max_attempts=4,
        deadline_at=Millis(0),
        dispatched_at=Millis(0),
    )


def a_result(**error: Any) -> StepResult:
    return StepResult(
        command_id=CommandId("c"),
        task_id=TaskId("t"),
        tenant_id="acme",
        kind=ResultKind.FAILED if error else ResultKind.SUCCEEDED,
        error=Error(**error) if error else None,
        started_at=Millis(0),
    )


def test_only_used_up_retries_and_our_own_faults_count_as_dead_letters() -> None:
    away = a_result(code="SERVICE_UNAVAILABLE", retriable=True)
    ours = a_result(code="SERVICE_UNKNOWN", category=ErrorCategory.INTERNAL)
    refused = a_result(code="SERVICE_REFUSED", category=ErrorCategory.USER)

    assert ending_of(a_command(1), away) is Ending.RETRIED
    assert ending_of(a_command(4), away) is Ending.DEAD_LETTERED
    assert ending_of(a_command(1), ours) is Ending.DEAD_LETTERED
    assert ending_of(a_command(4), refused) is Ending.OTHER
    assert ending_of(a_command(4), a_result()) is Ending.FINE
