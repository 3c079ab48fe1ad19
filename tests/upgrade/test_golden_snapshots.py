"""Snapshots of the version before are read by this one, and this one's by the version before."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from schemas.codec import decode, encode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.headers import header_text
from schemas.records import Json, TaskId, TaskState
from streams.errors import SnapshotUnreadableError
from streams.history.acceptance import Ownership
from streams.kafka.publisher import Outgoing
from streams.ownership.ports import Adoption, Checkpoint, Snapshot, StateRecord, Unreadable
from streams.ownership.recovery import Recovery
from streams.ownership.state_record import CHECKPOINT_KEY, read_state, write_state
from tasks.pipeline_file import load_pipelines
from tasks.task import Task
from tests.checker.wire import Kept
from tests.upgrade.contents import ENDED, FORGOTTEN, LIVE, PREFIX
from tests.upgrade.loading import read_fixture

FIXTURE = read_fixture()
TOPICS = (f"{PREFIX}task-created.v1", f"{PREFIX}task-events.v1")
REQUIRED = [field.name for field in msgspec.structs.fields(Task) if field.required]


def as_read(record: Kept) -> Origin:
    return Origin(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        key=record.key,
        value=record.value,
        headers=record.headers,
    )


GOLDEN = [as_read(record) for record in FIXTURE.of("task-state")]


def snapshots_of_tasks() -> Iterator[Origin]:
    return (record for record in GOLDEN if record.value and record.key != CHECKPOINT_KEY)


def a_recovery() -> Recovery:
    return Recovery(
        pipelines=load_pipelines(),
        created_topic=TOPICS[0],
        events_topic=TOPICS[1],
        state_topic="state",
        partitions=2,
        topic_ids=dict.fromkeys(TOPICS, "an id that no checkpoint names"),
    )


def recovered(partition: int) -> dict[TaskId, Task]:
    recovery = a_recovery()
    for record in GOLDEN:
        if record.partition == partition:
            recovery.load(read_state(record))
    assert recovery.start_at(0) > 0
    assert not recovery.made_again
    return recovery.tasks


def test_every_snapshot_of_the_version_before_is_read() -> None:
    found = [type(read_state(record).content) for record in GOLDEN]

    assert set(found) == {Snapshot, Checkpoint}
    assert any(record.value is None and record.key == FORGOTTEN.encode() for record in GOLDEN)


def test_a_recovery_from_them_knows_every_task_that_was_snapshotted() -> None:
    tasks = recovered(0) | recovered(1)

    assert {str(task_id): str(task.phase) for task_id, task in tasks.items()} == {
        name: phase for name, phase in (LIVE | ENDED).items() if name != "late"
    }
    waiting = tasks[TaskId("waiting")].outstanding
    assert waiting is not None
    assert waiting.due_at is not None
    assert tasks[TaskId("done-1")].content_hash
    assert tasks[TaskId("second-run")].run == 2


@pytest.mark.parametrize("name", REQUIRED)
def test_a_field_that_the_version_before_did_not_write_is_not_passed_over(name: str) -> None:
    """Were this field new and without a default, each old snapshot would be like these."""
    for record in snapshots_of_tasks():
        found = read_state(without(record, name)).content
        assert isinstance(found, Unreadable)
        assert name in found.reason


def test_one_such_snapshot_stops_a_takeover_whose_log_has_lost_its_beginning() -> None:
    recovery = a_recovery()
    for record in snapshots_of_tasks():
        recovery.load(read_state(without(record, "deadline_at")))

    with pytest.raises(SnapshotUnreadableError, match="deadline_at"):
        recovery.start_at(1)


def test_a_router_of_the_version_before_passes_over_what_it_does_not_know() -> None:
    adoption = Adoption(
        topic=TOPICS[0], topic_id="i", made_again=True, log_start=3, actor="ada", reason="r", at=7
    )
    clock = Origin(
        topic="state", partition=0, offset=1, timestamp_ms=0, key=b"/clock", value=None, headers=()
    )

    assert read_by_the_version_before(clock) is None
    assert read_by_the_version_before(written(adoption)) is None


def test_a_router_of_the_version_before_reads_what_this_one_writes() -> None:
    checkpoint = Checkpoint(
        offset=12, state_from=3, decided_created=9, partitions=2, topics={TOPICS[0]: "i"}
    )

    assert read_by_the_version_before(written(checkpoint)) == FirstCheckpoint(12, 3, 9, 2)
    for record in snapshots_of_tasks():
        snapshot = read_state(record).content
        assert isinstance(snapshot, Snapshot)
        assert read_by_the_version_before(written(snapshot)) == snapshot
        assert read_by_the_version_before(record) == snapshot
    tombstone = Snapshot(task_id=TaskId("t"), task=None, as_of=12)
    assert read_by_the_version_before(written(tombstone)) == tombstone


def without(record: Origin, name: str) -> Origin:
    """The snapshot without a field of the task."""
    state = decode(record.value, TaskState)
    task: dict[str, Any] = json.loads(state.state)
    del task[name]
    changed = msgspec.structs.replace(state, state=Json(json.dumps(task)))
    return msgspec.structs.replace(record, value=encode(changed))


def written(content: Snapshot | Checkpoint | Adoption) -> Origin:
    """As this version writes it."""
    out: Outgoing = write_state("state", 0, StateRecord(content, Ownership(7, "an-owner")))
    return Origin(
        topic="state",
        partition=0,
        offset=5,
        timestamp_ms=0,
        key=out.key,
        value=out.value,
        headers=tuple(out.headers),
    )


@dataclass(frozen=True)
class FirstCheckpoint:
    """A checkpoint of the version before."""

    offset: int
    state_from: int
    decided_created: int
    partitions: int


def read_by_the_version_before(record: Origin) -> Snapshot | FirstCheckpoint | None:
    """``read_state`` as it was at d89243c, without the writer; the task's fields are the same."""
    epoch = header_text(record.headers, "epoch") or ""
    owner = header_text(record.headers, "owner")
    as_of = header_text(record.headers, "as_of") or ""
    if owner is None or not epoch.isdecimal() or not as_of.isdecimal() or not record.key:
        return None
    if record.value is None:
        task_id = TaskId(record.key.decode(errors="replace"))
        return Snapshot(task_id=task_id, task=None, as_of=int(as_of))
    try:
        state = decode(record.value, TaskState)
        if record.key == CHECKPOINT_KEY:
            return msgspec.json.decode(state.state, type=FirstCheckpoint)
        task = msgspec.json.decode(state.state, type=Task)
    except (DecodeError, msgspec.DecodeError):
        return None
    return Snapshot(task_id=state.task_id, task=task, as_of=state.as_of)
