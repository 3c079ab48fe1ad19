"""The reason that an explanation gives follows from the task's history and its groups."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import Raw

from agents.steps.gate.admission import Hold
from agents.steps.gate.note import note_of
from orchestrator.api.tasks.explanation import ExplanationView, Readers, Reason, explained
from orchestrator.api.tasks.history import PastAttempt, TaskHistory
from orchestrator.api.tasks.views.task import StepView, TaskView
from streams.kafka.group_reading import GroupReading

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def a_reading(members: int = 1, unread: int = 0, note: str = "") -> GroupReading:
    return GroupReading(members=members, unread=unread, note=note)


def an_attempt(
    *, number: int = 1, started_at: datetime | None = None, next_attempt_at: datetime | None = None
) -> PastAttempt:
    step = StepView(
        id="s",
        name="retrieve",
        service="retrieval",
        run=1,
        attempt=number,
        status="running",
        started_at=started_at,
    )
    return PastAttempt(
        step=step,
        lane="normal",
        worker="w",
        dispatched_at=ago(10),
        next_attempt_at=next_attempt_at,
    )


def a_history(phase: str, *attempts: PastAttempt, **fields: Any) -> TaskHistory:
    task = TaskView(
        id="t",
        type="rag",
        status="running",
        phase=phase,
        priority=3,
        conversation_id=None,
        user_id=None,
        tenant_id="default",
        input=Raw(b"{}"),
        created_at=ago(60),
        updated_at=ago(10),
        sequence=1,
        **fields,
    )
    return TaskHistory(task=task, request_id=None, attempts=attempts, source="log")


def explain(
    history: TaskHistory,
    *,
    router: GroupReading = a_reading(),  # noqa: B008  # frozen
    sink: GroupReading = a_reading(),  # noqa: B008
    step: GroupReading | None = None,
) -> ExplanationView:
    return explained(history, Readers(router=router, sink=sink, step=step), now=NOW)


DISPATCHED = a_history("step_dispatched", an_attempt())


def noted(*holds: Hold, service: str | None = None) -> GroupReading:
    """Commands that a worker holds back."""
    name = service or an_attempt().step.service
    return a_reading(unread=3, note=note_of((name, hold) for hold in holds))


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        pytest.param(a_reading(members=0, unread=3), Reason.NO_WORKER, id="nobody reads"),
        pytest.param(noted(Hold.FLOOD_GUARD), Reason.FLOOD_GUARD, id="dead letters"),
        pytest.param(noted(Hold.BREAKER_OPEN), Reason.BREAKER_OPEN, id="failed calls"),
        pytest.param(noted(Hold.THROTTLED), Reason.THROTTLED, id="refused calls"),
        pytest.param(noted(Hold.BREAKER_OPEN, Hold.FLOOD_GUARD), Reason.FLOOD_GUARD, id="both"),
        pytest.param(noted(Hold.RETRIES), Reason.LANE_BEHIND, id="retries of others"),
        pytest.param(noted(Hold.FLOOD_GUARD, service="other"), Reason.LANE_BEHIND, id="another"),
        pytest.param(a_reading(unread=3), Reason.LANE_BEHIND, id="others before it"),
        pytest.param(a_reading(), Reason.ROUTER_BEHIND, id="its result is written"),
    ],
)
def test_a_dispatched_command_waits_for_who_has_to_move_it(
    step: GroupReading, reason: Reason
) -> None:
    assert explain(DISPATCHED, step=step).reason is reason


def test_a_probe_that_runs_is_a_call_although_its_group_holds_back_other_commands() -> None:
    history = a_history("step_running", an_attempt(started_at=ago(5)))
    found = explain(history, step=a_reading(unread=1, note=noted(Hold.BREAKER_OPEN).note))

    assert (found.reason, found.worker, found.since) == (Reason.CALL_RUNNING, "w", ago(5))


def test_a_retry_that_its_worker_holds_back_waits_for_the_budget() -> None:
    history = a_history("step_dispatched", an_attempt(number=2))

    assert explain(history, step=noted(Hold.RETRIES)).reason is Reason.RETRY_BUDGET


def test_a_retry_that_is_due_waits_for_the_router() -> None:
    history = a_history("retry_scheduled", an_attempt(next_attempt_at=ago(1)))

    assert explain(history, step=a_reading()).reason is Reason.ROUTER_BEHIND
    no_router = explain(history, router=a_reading(members=0), step=a_reading())
    assert (no_router.reason, no_router.since) == (Reason.NO_ROUTER, ago(1))


def test_without_an_answer_of_kafka_the_reason_is_unknown() -> None:
    found = explained(DISPATCHED, None, now=NOW)

    assert (found.reason, found.mover, found.remarks) == (Reason.UNKNOWN, "operator", [])
    assert "refuses this account" in found.text


def test_a_step_whose_topic_is_gone_waits_for_an_operator() -> None:
    gone = GroupReading(members=0, unread=0, note="", missing=True)
    found = explain(DISPATCHED, step=gone)

    assert (found.reason, found.mover, found.step) == (Reason.NO_WORKER, "operator", "retrieve")
    assert "does not exist" in found.text


def test_what_holds_a_task_back_before_kafka_matters_needs_no_answer_of_kafka() -> None:
    waiting = a_history("retry_scheduled", an_attempt(next_attempt_at=ago(-9)))

    assert explained(waiting, None, now=NOW).due_at == ago(-9)
    assert explained(a_history("held"), None, now=NOW).reason is Reason.HELD


@pytest.mark.parametrize(
    ("deadline_at", "codes"),
    [
        pytest.param(ago(-61), [], id="far"),
        pytest.param(ago(-60), ["DEADLINE_NEAR"], id="near"),
        pytest.param(NOW, ["DEADLINE_PASSED"], id="passed"),
    ],
)
def test_a_deadline_is_mentioned_from_a_minute_before(
    deadline_at: datetime, codes: list[str]
) -> None:
    history = a_history("step_dispatched", an_attempt(), deadline_at=deadline_at)
    found = explain(history, step=a_reading(unread=1))

    assert [remark.code for remark in found.remarks] == codes


def test_a_sink_that_reads_late_is_not_a_sink_that_is_missing() -> None:
    late = explain(DISPATCHED, sink=a_reading(unread=7), step=a_reading(unread=1))
    missing = explain(DISPATCHED, sink=a_reading(members=0, unread=7), step=a_reading(unread=1))

    assert [remark.code for remark in (*late.remarks, *missing.remarks)] == [
        "SINK_BEHIND",
        "NO_SINK",
    ]
