"""The records of ``task-state`` survive their way through Kafka."""

import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from schemas.codec import decode, encode
from schemas.dead_letter import FetchFault, Origin
from schemas.records import Json, TaskState
from streams.history.acceptance import Ownership
from streams.kafka.publisher import Outgoing
from streams.ownership.ports import Adoption, Checkpoint, Snapshot, StateRecord, Unreadable
from streams.ownership.state_record import CHECKPOINT_KEY, read_state, write_state
from tasks.remember import shrunk
from tests.tasks.builders import TASK, a_completed_life, a_failed_life, a_life

OWNER = Ownership(7, "an-owner")
CHECKPOINT = Checkpoint(
    offset=12,
    state_from=3,
    decided_created=9,
    partitions=4,
    topics={"t": "i"},
    orphans={"t": [3, 5]},
)


def as_read(record: Outgoing, offset: int = 5) -> Origin:
    return Origin(
        topic=record.topic,
        partition=record.partition,
        offset=offset,
        timestamp_ms=0,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
    )


def a_retrying_life() -> object:
    life = a_life()
    life.failed()
    return life.task


@pytest.mark.parametrize(
    "task",
    [
        a_life().task,
        a_retrying_life(),
        a_failed_life().task,
        a_completed_life().task,
        shrunk(a_completed_life().task),
        None,
    ],
    ids=["queued", "retry scheduled", "failed", "completed", "shrunk", "forgotten"],
)
def test_a_snapshot_is_read_as_it_was_written(task: object) -> None:
    snapshot = Snapshot(task_id=TASK, task=task, as_of=12)  # type: ignore[arg-type]
    written = write_state("state", 2, StateRecord(snapshot, OWNER))

    assert read_state(as_read(written)) == StateRecord(snapshot, OWNER, 5)
    assert (written.value is None) == (task is None)


def test_a_snapshot_keeps_the_trace_of_its_task() -> None:
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    snapshot = Snapshot(task_id=TASK, task=a_life().task, as_of=12, trace=trace)
    written = write_state("state", 2, StateRecord(snapshot, OWNER))

    assert read_state(as_read(written)) == StateRecord(snapshot, OWNER, 5)


def test_a_checkpoint_is_read_as_it_was_written() -> None:
    written = write_state("state", 2, StateRecord(CHECKPOINT, OWNER))

    assert written.key == CHECKPOINT_KEY
    assert read_state(as_read(written)) == StateRecord(CHECKPOINT, OWNER, 5)


@pytest.mark.parametrize("value", [None, b"", b"\x00garbage"])
def test_what_nobody_can_read_says_nothing(value: bytes | None) -> None:
    stranger = Origin(
        topic="state", partition=0, offset=5, timestamp_ms=0, key=b"k", value=value, headers=()
    )

    assert read_state(stranger).content is None


def with_header(record: Outgoing, name: str, value: bytes) -> Outgoing:
    headers = [pair for pair in record.headers if pair[0] != name]
    return replace(record, headers=[*headers, (name, value)])


@pytest.mark.parametrize(
    "changes",
    [
        {"value": b"\x00xx"},
        {"value": b""},
        {"headers": {"version": b"99"}},
        {"headers": {"version": b"1e3"}},
    ],
    ids=["garbage", "empty", "a later version", "no version at all"],
)
@pytest.mark.parametrize("key", [None, b"/adoption/t", b"task_1"])
def test_what_an_owner_wrote_and_nobody_can_read_is_not_passed_over(
    key: bytes | None, changes: dict[str, Any]
) -> None:
    record = write_state("state", 2, StateRecord(CHECKPOINT, OWNER))
    record = replace(record, key=key or record.key, value=changes.get("value", record.value))
    for name, value in changes.get("headers", {}).items():
        record = with_header(record, name, value)

    found = read_state(as_read(record))

    assert isinstance(found.content, Unreadable)
    assert found.content.key == (key or CHECKPOINT_KEY).decode()
    assert (found.by, found.offset) == (OWNER, 5)


def test_a_snapshot_without_a_field_that_this_version_needs_is_not_passed_over() -> None:
    snapshot = Snapshot(task_id=TASK, task=a_life().task, as_of=12)
    written = write_state("state", 2, StateRecord(snapshot, OWNER))
    state = decode(written.value, TaskState)
    without = json.loads(state.state)
    del without["deadline_at"]
    value = encode(msgspec.structs.replace(state, state=Json(json.dumps(without))))

    found = read_state(as_read(replace(written, value=value)))

    assert isinstance(found.content, Unreadable)
    assert "deadline_at" in found.content.reason


def test_a_snapshot_of_the_first_version_is_read() -> None:
    snapshot = Snapshot(task_id=TASK, task=a_life().task, as_of=12)
    written = write_state("state", 2, StateRecord(snapshot, OWNER))
    first = replace(written, headers=[pair for pair in written.headers if pair[0] != "version"])

    assert read_state(as_read(first)) == StateRecord(snapshot, OWNER, 5)


def test_an_adoption_is_read_as_it_was_written() -> None:
    adoption = Adoption(
        topic="t", topic_id="i", made_again=True, log_start=3, actor="ada", reason="r", at=7
    )
    written = write_state("state", 2, StateRecord(adoption, OWNER))

    assert written.key == b"/adoption/t"
    assert read_state(as_read(written)) == StateRecord(adoption, OWNER, 5)


def test_a_batch_that_was_never_taken_apart_may_have_held_a_snapshot() -> None:
    fault = FetchFault(first_offset=3, code="BATCH_CORRUPT", message="m", batch=b"")
    record = replace(as_read(write_state("state", 2, StateRecord(CHECKPOINT, OWNER))), fault=fault)

    assert read_state(record).content == Unreadable(None, "m")
