"""Events to rows, without a database."""

import json
from datetime import date

import msgspec
import pytest

from schemas.records import CommandKind, Millis, ResultKind, TaskId, TaskStatus
from sinks.columns import RefusalRow
from sinks.rows import LogEvent, project
from sinks.schema.month import month_of
from tests.sinks.building import USAGE, ALog, a_completed_log, a_marker


def test_events_of_one_task_become_one_row() -> None:
    batch = project(a_completed_log().events)

    assert [(row.id, row.status) for row in batch.begun] == [("task_1", "completed")]
    assert not batch.changed
    assert not batch.refused
    assert [(row.step, row.attempt, row.status) for row in batch.steps] == [
        ("retrieve", 1, "succeeded"),
        ("generate", 1, "succeeded"),
    ]
    assert [row.event_type for row in batch.logs] == [
        "created",
        "started",
        "step_succeeded",
        "completed",
    ]


def test_events_without_the_beginning_only_change_a_row() -> None:
    batch = project(a_completed_log().events[1:])

    assert [(row.id, row.status, row.sequence) for row in batch.changed] == [
        ("task_1", "completed", 4)
    ]
    assert not batch.begun


def test_a_refusal_alone_changes_only_the_sequence() -> None:
    log = a_completed_log()
    log.command(CommandKind.CANCEL)

    batch = project(log.events[-1:])

    assert batch.refused == (RefusalRow(id=TaskId("task_1"), sequence=5, event_offset=4),)
    assert not any([batch.begun, batch.changed, batch.steps])


def test_a_marker_is_no_row() -> None:
    batch = project([LogEvent(0, 0, a_marker(1))])

    rows = (batch.begun, batch.changed, batch.refused, batch.steps, batch.logs, batch.months)
    assert not any(rows)


def test_a_new_life_leaves_only_its_own_rows_and_both_trails() -> None:
    log = a_completed_log()
    log.forget()
    log.create()

    batch = project(log.events)

    assert [(row.status, row.sequence, row.born_offset) for row in batch.begun] == [
        ("pending", 1, 4)
    ]
    assert [row.status for row in batch.steps] == ["pending"]
    assert len(batch.logs) == 5


def test_a_new_run_has_not_started_or_ended() -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.STARTED)
    log.report(ResultKind.FAILED)
    log.command(CommandKind.RETRY)

    for events in (log.events, log.events[1:]):
        (row,) = project(events).begun

        assert (row.run, row.started_at, row.completed_at, row.error_code) == (2, None, None, None)
        assert row.cost_micros == USAGE.cost_micros


def test_an_event_that_tells_no_usage_keeps_it() -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.SUCCEEDED)
    log.command(CommandKind.SET_PRIORITY, priority=7)
    last = log.events[-1]
    silent = LogEvent(0, last.offset, msgspec.structs.replace(last.event, usage=None))

    (row,) = project([*log.events[1:-1], silent]).changed
    (alone,) = project([silent]).changed

    assert row.cost_micros == USAGE.cost_micros
    assert alone.cost_micros is None


def test_a_status_that_this_version_does_not_know_keeps_the_rows() -> None:
    event = a_completed_log().events[1].event
    unknown = msgspec.structs.replace(event, status=TaskStatus.UNKNOWN)

    (row,) = project([LogEvent(0, 1, unknown)]).changed

    assert row.status is None


def test_an_error_names_the_step_and_attempt_that_failed() -> None:
    log = ALog()
    log.create()
    log.report(ResultKind.FAILED)

    (row,) = project(log.events).begun

    assert (row.error_code, row.error_service) == ("BAD_INPUT", "rag-engine")
    assert (row.error_step, row.error_attempt) == ("retrieve", 1)


def test_a_command_that_moves_to_another_lane_keeps_when_it_was_dispatched() -> None:
    log = ALog()
    log.create()
    log.command(CommandKind.SET_PRIORITY, priority=10)

    (row,) = project(log.events).steps

    assert (row.lane, row.dispatched_at) == ("high", log.events[0].event.occurred_at)


def test_the_trail_holds_no_documents() -> None:
    for row in project(a_completed_log().events).logs:
        document = json.loads(row.event_data)

        assert not {"input", "output"} & document.keys()
        assert not {"input", "metadata"} & document.get("task", {}).keys()
        assert not {"output", "substeps"} & document.get("step", {}).keys()
        assert all("input" not in step for step in document.get("dispatched", []))


@pytest.mark.parametrize(
    ("at", "month"),
    [
        (0, date(1970, 1, 1)),
        (-1, date(1969, 12, 1)),
        (1_761_955_199_999, date(2025, 10, 1)),
        (1_761_955_200_000, date(2025, 11, 1)),
    ],
)
def test_a_month_begins_at_midnight_of_utc(at: int, month: date) -> None:
    assert month_of(Millis(at)) == month


def test_a_time_beyond_the_calendar_has_no_month() -> None:
    with pytest.raises(ValueError, match="is not a date"):
        month_of(Millis(10**18))
