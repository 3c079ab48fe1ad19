"""What the chaos tests see of the log."""

from schemas.codec import encode
from schemas.records import EventKind, Millis, TaskEvent, TaskId
from tests.chaos.watch import Watch


def an_event(kind: EventKind, *, epoch: int) -> bytes:
    return encode(
        TaskEvent(
            event_id=f"{kind}/{epoch}",
            task_id=TaskId("t1"),
            tenant_id="",
            kind=kind,
            occurred_at=Millis(1),
            owner=f"owner-{epoch}",
            owner_epoch=epoch,
        )
    )


def test_a_zombie_brings_no_task_back_that_has_ended() -> None:
    watch = Watch()
    events = [(EventKind.CREATED, 1), (EventKind.FAILED, 2), (EventKind.CREATED, 1)]
    for offset, (kind, epoch) in enumerate(events):
        watch.note("task-events", 0, offset, an_event(kind, epoch=epoch))

    assert watch.ended == {"t1"}
    assert watch.zombie_events == 1
