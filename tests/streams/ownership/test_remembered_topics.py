"""A takeover stops where what it remembers is not of the topics that exist. Pure."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import TaskEvent
from streams.errors import LogTrimmedError, SnapshotUnreadableError, TopicReplacedError
from streams.history.acceptance import Ownership
from streams.ownership.ports import (
    Adoption,
    Checkpoint,
    Logged,
    Snapshot,
    StateRecord,
    Unreadable,
)
from streams.ownership.recovery import Recovery
from tests.streams.ownership.test_recovery import a_log, a_marker, by
from tests.tasks.builders import COMMANDS, CREATED, RESULTS, RULES, TASK, a_life

LOG = "orchestrator.task-events.v1"
A = Ownership(1, "a")
IDS = {CREATED: "id-1", COMMANDS: "id-2", RESULTS: "id-3", LOG: "id-4"}


def a_recovery(**changes: object) -> Recovery:
    facts: dict[str, object] = {"topic_ids": IDS, "input_ends": {CREATED: 100}}
    return Recovery(
        pipelines=RULES.pipelines,
        committed={},
        created_topic=CREATED,
        events_topic=LOG,
        state_topic="state",
        partitions=1,
        **(facts | changes),  # type: ignore[arg-type]
    )


def a_checkpoint(**changes: object) -> StateRecord:
    checkpoint = Checkpoint(offset=5, state_from=0, decided_created=9, partitions=1, topics=IDS)
    return StateRecord(replace(checkpoint, **changes), A, 50)  # type: ignore[arg-type]


def an_adoption(topic: str, topic_id: str, *, made_again: bool, log_start: int = 0) -> StateRecord:
    adoption = Adoption(
        topic=topic,
        topic_id=topic_id,
        made_again=made_again,
        log_start=log_start,
        actor="ada",
        reason="r",
        at=1,
    )
    return StateRecord(adoption, Ownership(0, "ada"), 60)


@pytest.mark.parametrize("topic", IDS)
def test_a_topic_with_another_id_stops_the_takeover_and_is_named(topic: str) -> None:
    recovery = a_recovery(topic_ids=IDS | {topic: "another"})
    recovery.load(a_checkpoint())

    with pytest.raises(TopicReplacedError, match=rf"{topic} has the id another.*topics adopt"):
        recovery.start_at(0)


def test_a_broker_or_a_checkpoint_without_ids_stops_nothing() -> None:
    for record, ids in ((a_checkpoint(topics={}), IDS), (a_checkpoint(), {})):
        recovery = a_recovery(topic_ids=ids)
        recovery.load(record)
        assert recovery.start_at(0) == 5


def test_a_topic_that_is_shorter_than_what_was_decided_stops_the_takeover() -> None:
    recovery = a_recovery(topic_ids={}, input_ends={CREATED: 9})
    recovery.load(a_checkpoint())

    with pytest.raises(TopicReplacedError, match="ends at 9, but offset 9 of it was decided"):
        recovery.start_at(0)


def test_of_an_adopted_topic_that_was_made_again_no_offset_is_remembered() -> None:
    life = a_life()
    life.started()
    assert {CREATED, RESULTS} <= set(life.task.decided)
    recovery = a_recovery(topic_ids=IDS | {CREATED: "new"}, input_ends={CREATED: 0})
    recovery.load(a_checkpoint(offset=2))
    recovery.load(an_adoption(CREATED, "new", made_again=True))
    recovery.load(StateRecord(Snapshot(task_id=TASK, task=life.task, as_of=2), A, 51))

    recovery.start_at(0)
    life.succeeded()
    recovery.fold(Logged(2, by("a", 1, life.events[-1:])[0]))

    assert recovery.decided_created == -1
    assert set(recovery.tasks[TASK].decided) == {RESULTS}
    assert recovery.touched == {TASK}


def test_of_an_adopted_mirror_every_offset_is_remembered() -> None:
    recovery = a_recovery(topic_ids=IDS | {CREATED: "new"})
    recovery.load(a_checkpoint())
    recovery.load(an_adoption(CREATED, "new", made_again=False))

    recovery.start_at(0)

    assert (recovery.decided_created, recovery.made_again) == (9, frozenset())


def test_an_adoption_is_of_one_topic_only_and_not_of_the_next_one_of_its_name() -> None:
    recovery = a_recovery(topic_ids=IDS | {CREATED: "newer"})
    recovery.load(a_checkpoint())
    recovery.load(an_adoption(CREATED, "new", made_again=True))

    with pytest.raises(TopicReplacedError):
        recovery.start_at(0)


def test_a_log_that_lost_events_behind_the_checkpoint_stops_the_takeover() -> None:
    recovery = a_recovery()
    recovery.load(a_checkpoint())

    with pytest.raises(LogTrimmedError, match=r"begins at 8.*says 5: 3 events are missing"):
        recovery.start_at(8)


def test_a_log_that_lost_only_what_is_in_the_snapshots_stops_nothing() -> None:
    recovery = a_recovery()
    recovery.load(a_checkpoint())

    assert recovery.start_at(5) == 5


def test_events_that_an_operator_gave_up_are_passed_over_and_the_owner_is_found() -> None:
    recovery = a_recovery()
    recovery.load(a_checkpoint())
    recovery.load(an_adoption(LOG, "id-4", made_again=False, log_start=8))

    assert recovery.start_at(8) == 8
    assert recovery.owner_unknown
    life = a_life()
    recovery.find_owner([Logged(8, by("c", 3, life.events)[0])])
    assert recovery.ownership == Ownership(3, "c")


def test_what_was_given_up_once_does_not_cover_what_goes_missing_later() -> None:
    recovery = a_recovery()
    recovery.load(a_checkpoint())
    recovery.load(an_adoption(LOG, "id-4", made_again=False, log_start=8))

    with pytest.raises(LogTrimmedError):
        recovery.start_at(9)


def state_made_again(**changes: object) -> Recovery:
    """Snapshots of which the older ones are gone with the former topic."""
    ids = IDS | {"state": "state-1"}
    recovery = a_recovery(topic_ids=ids | {"state": "state-2"}, **changes)
    recovery.load(a_checkpoint(topics=ids))
    return recovery


def test_without_all_snapshots_the_whole_log_is_read() -> None:
    life = a_life()
    life.started()
    recovery = state_made_again()

    assert recovery.start_at(0) == 0
    for record in a_log(a_marker(1, "a"), *by("a", 1, life.events)):
        recovery.fold(record)
    assert recovery.tasks == {TASK: life.task}
    assert recovery.decided_created == life.task.decided[CREATED]


def test_without_all_snapshots_and_without_the_whole_log_a_takeover_stops() -> None:
    with pytest.raises(TopicReplacedError, match="adopt task-state --as again"):
        state_made_again().start_at(3)


def test_what_neither_snapshots_nor_log_hold_can_be_given_up() -> None:
    recovery = state_made_again()
    recovery.load(an_adoption("state", "state-2", made_again=True))

    assert recovery.start_at(3) == 3
    assert recovery.owner_unknown


def test_events_before_the_checkpoint_say_nothing_of_what_was_decided_of_a_new_topic() -> None:
    life = a_life()
    recovery = a_recovery()
    recovery.load(a_checkpoint(offset=5, decided_created=0))
    recovery.start_at(0)

    [event] = by("a", 1, life.events)
    recovery.fold(Logged(2, msgspec.structs.replace(event, cause_offset=70)))

    assert recovery.decided_created == 0


def unreadable(key: str | None, offset: int = 52) -> StateRecord:
    return StateRecord(Unreadable(key, "why"), A, offset)


@pytest.mark.parametrize("key", [str(TASK), "/checkpoint", None])
def test_a_snapshot_that_cannot_be_read_stops_the_takeover_when_the_log_is_not_whole(
    key: str | None,
) -> None:
    recovery = a_recovery()
    recovery.load(a_checkpoint())
    recovery.load(unreadable(key))

    with pytest.raises(SnapshotUnreadableError, match="state at offset 52, written by a: why"):
        recovery.start_at(3)


@pytest.mark.parametrize("key", [str(TASK), "/checkpoint", None])
def test_a_snapshot_that_cannot_be_read_is_made_from_the_whole_log(key: str | None) -> None:
    life = a_life()
    life.started()
    log: list[TaskEvent] = [a_marker(1, "a"), *by("a", 1, life.events)]
    recovery = a_recovery()
    recovery.load(a_checkpoint())
    recovery.load(unreadable(key))

    assert recovery.start_at(0) == 0
    for record in a_log(*log):
        recovery.fold(record)
    assert recovery.tasks == {TASK: life.task}


@pytest.mark.parametrize("key", [str(TASK), None])
def test_unreadable_snapshots_that_an_operator_gave_up_stop_nothing(key: str | None) -> None:
    recovery = a_recovery(topic_ids=IDS | {"state": "state-1"})
    recovery.load(a_checkpoint())
    recovery.load(unreadable(key, offset=52))
    recovery.load(an_adoption("state", "state-1", made_again=True))  # at offset 60

    assert recovery.start_at(3) == 5


def test_a_snapshot_that_becomes_unreadable_later_stops_a_takeover_all_the_same() -> None:
    recovery = a_recovery(topic_ids=IDS | {"state": "state-1"})
    recovery.load(a_checkpoint())
    recovery.load(an_adoption("state", "state-1", made_again=True))  # at offset 60
    recovery.load(unreadable(str(TASK), offset=61))

    with pytest.raises(SnapshotUnreadableError):
        recovery.start_at(3)


def test_a_newer_record_of_the_same_key_makes_an_unreadable_one_harmless() -> None:
    recovery = a_recovery()
    recovery.load(unreadable("/checkpoint"))
    recovery.load(unreadable(str(TASK)))
    recovery.load(a_checkpoint())
    recovery.load(StateRecord(Snapshot(task_id=TASK, task=None, as_of=2), A, 53))

    assert recovery.start_at(3) == 5


@given(first=st.integers(0, 20), wanted=st.integers(0, 20))
def test_a_takeover_never_begins_behind_a_hole(first: int, wanted: int) -> None:
    recovery = a_recovery()
    recovery.load(a_checkpoint(offset=wanted))

    if first > wanted:
        with pytest.raises(LogTrimmedError):
            recovery.start_at(first)
    else:
        assert recovery.start_at(first) == wanted
