"""What a result says about its service: who is at fault decides, and nobody can stop others."""

from __future__ import annotations

import grpc
import pytest

from agents.services.failure import (
    STATUS_VERDICTS,
    ServiceError,
    Verdict,
    verdict_of_http,
    verdict_of_status,
)
from agents.services.models.refusals import PROMPT_INVALID
from agents.steps.gate.admission import Admission, Hold
from agents.steps.gate.breaker import BreakerPass
from agents.steps.gate.note import holds_of, note_of
from agents.steps.gate.outcome import Outcome, outcome_of
from agents.steps.gate.service_rules import Asked, Pass, calls_again
from agents.steps.report import Attempt, error_of
from schemas.dead_letter import Origin
from schemas.records import Error, ErrorCategory, Millis, StepResult
from tests.agents.steps.working import a_command

COMMAND = a_command()
ATTEMPT = Attempt(
    command=COMMAND,
    origin=Origin(
        topic="t", partition=0, offset=0, timestamp_ms=0, key=b"k", value=b"v", headers=()
    ),
    worker="w",
    started_at=Millis(1),
)


def failed(error: Error) -> StepResult:
    return ATTEMPT.failed(error, Millis(2))


def of(verdict: Verdict, *, whole_time: bool = True) -> Outcome:
    error = ServiceError(verdict, "no", service="s").as_record()
    return outcome_of(failed(error), service="s", whole_time=whole_time)


STATUSES = {
    Outcome.ANSWERED: (
        *("INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION"),
        *("OUT_OF_RANGE", "UNIMPLEMENTED"),
    ),
    Outcome.FAILED: (
        *("CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "UNAVAILABLE"),
        "DATA_LOSS",
    ),
    Outcome.THROTTLED: ("RESOURCE_EXHAUSTED",),
    Outcome.UNKNOWN: ("PERMISSION_DENIED", "UNAUTHENTICATED"),
}


def test_every_status_has_its_outcome() -> None:
    found = {status.name: of(verdict_of_status(status)) for status in STATUS_VERDICTS}
    assert found == {name: outcome for outcome, names in STATUSES.items() for name in names}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((400, Outcome.ANSWERED), (404, Outcome.ANSWERED), (422, Outcome.ANSWERED)),
        *((401, Outcome.UNKNOWN), (403, Outcome.UNKNOWN)),
        (429, Outcome.THROTTLED),
        *((500, Outcome.FAILED), (502, Outcome.FAILED), (503, Outcome.FAILED)),
        (504, Outcome.FAILED),
    ],
)
def test_http_statuses_have_the_outcome_of_their_verdict(status: int, outcome: Outcome) -> None:
    assert of(verdict_of_http(status)) is outcome


def test_a_service_that_had_less_than_its_time_is_not_blamed_for_a_timeout() -> None:
    assert of(verdict_of_http(504), whole_time=False) is Outcome.UNKNOWN
    assert of(verdict_of_http(500), whole_time=False) is Outcome.FAILED


@pytest.mark.parametrize(
    ("code", "category", "retriable"),
    [
        ("DEADLINE_EXCEEDED", ErrorCategory.TIMEOUT, False),
        ("INTERNAL", ErrorCategory.INTERNAL, True),
        ("SERVICE_UNKNOWN", ErrorCategory.INTERNAL, False),
        ("SERVICE_REQUEST_INVALID", ErrorCategory.POISON, False),
    ],
)
def test_what_the_worker_itself_finds_says_nothing_about_the_service(
    code: str, category: ErrorCategory, retriable: bool
) -> None:
    error = error_of(COMMAND, code, "no", category, retriable=retriable)
    assert outcome_of(failed(error), service="s", whole_time=True) is Outcome.UNKNOWN


def test_a_prompt_that_was_not_sent_says_nothing_about_the_service() -> None:
    assert of(PROMPT_INVALID) is Outcome.UNKNOWN


@pytest.mark.parametrize("status", [429, 500, 503, 400])
def test_a_tool_that_a_model_called_says_nothing_about_the_model(status: int) -> None:
    error = ServiceError(verdict_of_http(status), "no", service="a-tool").as_record()
    assert outcome_of(failed(error), service="s", whole_time=True) is Outcome.UNKNOWN


def test_a_cancel_says_nothing_about_the_service() -> None:
    error = error_of(COMMAND, "CANCELLED", "no", ErrorCategory.CANCELLED)
    assert (
        outcome_of(ATTEMPT.cancelled(error, Millis(2)), service="s", whole_time=True)
        is Outcome.UNKNOWN
    )
    assert outcome_of(None, service="s", whole_time=True) is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("admission", "last", "outcome", "again"),
    [
        (Admission.GO, False, Outcome.THROTTLED, True),
        (Admission.GO, True, Outcome.THROTTLED, True),
        (Admission.PROBE, True, Outcome.THROTTLED, True),
        (Admission.PROBE, True, Outcome.FAILED, True),
        (Admission.PROBE, False, Outcome.FAILED, False),
        (Admission.GO, True, Outcome.FAILED, False),
        (Admission.PROBE, True, Outcome.UNKNOWN, False),
        (Admission.PROBE, True, Outcome.ANSWERED, False),
    ],
)
def test_a_throttled_call_and_the_failed_probe_of_a_last_attempt_are_made_again(
    admission: Admission, last: bool, outcome: Outcome, again: bool
) -> None:
    given = Pass(Asked(last, last), Admission.GO, BreakerPass(admission, 1, 1), 0.0)
    assert calls_again(given, outcome) is again


def test_a_note_says_for_each_service_why_its_commands_wait() -> None:
    note = note_of([("a", Hold.BREAKER_OPEN), ("a", Hold.THROTTLED), ("b", Hold.RETRIES)])
    assert holds_of(note, "a") == [Hold.BREAKER_OPEN, Hold.THROTTLED]
    assert holds_of(note, "b") == [Hold.RETRIES]
    assert holds_of(note, "c") == []


@pytest.mark.parametrize("note", ["", "asked by probes only: a", "FUTURE_REASON a", "; ;a", "a"])
def test_a_note_of_another_release_is_passed_over(note: str) -> None:
    assert holds_of(note, "a") == []


def test_every_status_of_grpc_is_in_the_table() -> None:
    listed = {name for names in STATUSES.values() for name in names}
    assert listed == {status.name for status in grpc.StatusCode} - {"OK"}
