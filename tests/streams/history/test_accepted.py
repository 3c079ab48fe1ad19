"""Where a reader that begins in the middle of a log finds its owner. Pure."""

from schemas.codec import decode, encode
from schemas.dead_letter import Origin
from schemas.records import EventKind, Millis, TaskEvent, TaskId
from streams.history.acceptance import Ownership, owner_before_first_marker
from streams.history.accepted import prevailing, read_accepted


def a_record(offset: int, epoch: int, owner: str, kind: EventKind = EventKind.STARTED) -> Origin:
    event = TaskEvent(
        event_id=f"{offset}",
        task_id=TaskId("t"),
        tenant_id="acme",
        kind=kind,
        occurred_at=Millis(0),
        owner=owner,
        owner_epoch=epoch,
    )
    return a_value(offset, encode(event))


def a_value(offset: int, value: bytes) -> Origin:
    return Origin(
        topic="t", partition=0, offset=offset, timestamp_ms=0, key=b"t", value=value, headers=()
    )


MARKER = EventKind.OWNERSHIP_TAKEN


def test_what_a_former_owner_wrote_after_the_marker_is_left_out() -> None:
    records = [
        a_record(0, 1, "a", MARKER),
        a_record(1, 1, "a"),
        a_record(2, 2, "b", MARKER),
        a_record(3, 1, "a"),
        a_value(4, b"no event"),
        a_record(5, 2, "b"),
    ]
    read = read_accepted(records, None)

    assert [record.offset for record, _ in read.events] == [1, 5]
    assert [record.offset for record, _ in read.undecodable] == [4]
    assert read.ownership == Ownership(2, "b")


def test_the_highest_epoch_prevails_whatever_a_former_owner_wrote_last() -> None:
    assert prevailing([a_record(7, 5, "now"), a_record(8, 4, "zombie")]) == Ownership(5, "now")


def test_of_two_that_announced_one_epoch_the_one_that_writes_prevails() -> None:
    records = [a_record(6, 5, "lost", MARKER), a_record(7, 5, "won")]

    assert prevailing(records) == Ownership(5, "won")


def test_records_that_nobody_can_read_tell_nothing() -> None:
    assert prevailing([a_value(0, b""), a_value(1, b"\x00garbage")]) is None


def test_a_log_that_was_cut_is_read_up_to_its_first_marker_to_find_its_owner() -> None:
    records = [a_record(7, 4, "a"), a_record(8, 5, "b", MARKER), a_record(9, 5, "b")]

    events = [decode(record.value, TaskEvent) for record in records]

    assert owner_before_first_marker(events) == Ownership(4, "a")
