"""The records of ``task-state`` survive their way through Kafka."""

import pytest

from schemas.dead_letter import Origin
from streams.ownership.acceptance import Ownership
from streams.ownership.ports import Checkpoint, Snapshot, StateRecord
from streams.ownership.state_record import CHECKPOINT_KEY, read_state, write_state
from streams.publisher import Outgoing
from tasks.remember import shrunk
from tests.tasks.builders import TASK, a_completed_life, a_failed_life, a_life

OWNER = Ownership(7, "an-owner")
CHECKPOINT = Checkpoint(offset=12, state_from=3, decided_created=9, partitions=4)


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


def test_a_value_that_does_not_decode_says_nothing() -> None:
    written = write_state("state", 2, StateRecord(CHECKPOINT, OWNER))
    broken = Outgoing(
        topic="state", partition=0, key=written.key, value=b"\x00xx", headers=written.headers
    )

    assert read_state(as_read(broken)).content is None
