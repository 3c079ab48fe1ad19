"""The acceptance rule: what a former owner writes changes nothing for any reader."""

from schemas.records import EventKind, Millis, TaskEvent, TaskId
from streams.history.acceptance import Ownership, accept

CURRENT = Ownership(4, "alice")


def an_event(epoch: int, owner: str, kind: EventKind = EventKind.CREATED) -> TaskEvent:
    return TaskEvent(
        event_id="e",
        task_id=TaskId("t"),
        tenant_id="acme",
        kind=kind,
        occurred_at=Millis(0),
        owner=owner,
        owner_epoch=epoch,
    )


def test_an_event_of_the_current_owner_is_accepted() -> None:
    assert accept(CURRENT, an_event(4, "alice")) == CURRENT


def test_an_event_of_a_former_owner_is_ignored() -> None:
    assert accept(CURRENT, an_event(3, "bob")) is None


def test_an_event_of_another_owner_with_the_same_epoch_is_ignored() -> None:
    assert accept(CURRENT, an_event(4, "bob")) is None


def test_a_marker_with_the_next_epoch_changes_the_owner() -> None:
    marker = an_event(5, "bob", EventKind.OWNERSHIP_TAKEN)

    assert accept(CURRENT, marker) == Ownership(5, "bob")


def test_of_two_markers_with_one_epoch_the_first_counts() -> None:
    after = accept(CURRENT, an_event(5, "bob", EventKind.OWNERSHIP_TAKEN))

    assert accept(after, an_event(5, "carol", EventKind.OWNERSHIP_TAKEN)) is None


def test_a_reader_without_ownership_begins_at_the_first_marker_whatever_its_epoch() -> None:
    assert accept(None, an_event(7, "bob")) is None
    assert accept(None, an_event(7, "bob", EventKind.OWNERSHIP_TAKEN)) == Ownership(7, "bob")
