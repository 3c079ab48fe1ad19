"""Reasons that no running system shows for long, from what Kafka answered."""

from datetime import UTC, datetime

from msgspec import Raw

from orchestrator.api.tasks.explanation import ExplanationView, Readers, Reason, explained
from orchestrator.api.tasks.history import PastAttempt, TaskHistory
from orchestrator.api.tasks.views.task import StepView, TaskView
from streams.kafka.group_reading import GroupReading
from tasks.task import Phase

NOW = datetime(2026, 1, 2, tzinfo=UTC)
IDLE = GroupReading(members=1, unread=0, note="")


def explained_with(readers: Readers | None) -> ExplanationView:
    """The explanation of a task whose command was sent to `retrieve`."""
    step = StepView(
        id="s",
        name="retrieve",
        service="retrieval",
        run=1,
        attempt=1,
        status="running",
        input=Raw(b"{}"),
    )
    attempt = PastAttempt(
        step=step, lane="normal", worker=None, dispatched_at=NOW, next_attempt_at=None
    )
    task = TaskView(
        id="task_1",
        type="rag",
        status="running",
        phase=Phase.QUEUED,
        priority=5,
        conversation_id=None,
        user_id=None,
        tenant_id="acme",
        input=Raw(b"{}"),
        created_at=NOW,
        updated_at=NOW,
        sequence=2,
    )
    history = TaskHistory(task=task, request_id=None, attempts=[attempt], source="log")
    return explained(history, readers, now=NOW)


def test_a_step_whose_topic_is_gone_waits_for_an_operator() -> None:
    gone = GroupReading(members=0, unread=0, note="", missing=True)
    found = explained_with(Readers(router=IDLE, sink=IDLE, step=gone))

    assert (found.reason, found.mover, found.step) == (Reason.NO_WORKER, "operator", "retrieve")
    assert "does not exist" in found.text


def test_an_answer_that_kafka_does_not_give_is_not_known() -> None:
    found = explained_with(None)

    assert (found.reason, found.mover) == (Reason.UNKNOWN, "operator")
    assert "refuses this account" in found.text
