"""The records of ``task-state``: snapshots, tombstones, checkpoints. Ours alone, may change.

| record     | key           | value                            |
|------------|---------------|----------------------------------|
| snapshot   | the task's id | ``TaskState`` with the task      |
| tombstone  | the task's id | none                             |
| checkpoint | ``/checkpoint`` | ``TaskState`` without a task id |

Each one carries ``epoch``, ``owner`` and ``as_of`` in its headers: a tombstone has nothing
else to say who wrote it.
"""

import msgspec

from schemas.codec import decode, encode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.headers import Headers, header_text
from schemas.records import Json, TaskId, TaskState
from streams.ownership.acceptance import Ownership
from streams.ownership.ports import Checkpoint, Snapshot, StateRecord
from streams.publisher import Outgoing
from tasks.task import Task

CHECKPOINT_KEY = b"/checkpoint"
"""No task's id can have a slash."""

_NOBODY = Ownership(0, "")
_encode_json = msgspec.json.Encoder().encode
_decode_task = msgspec.json.Decoder(Task).decode
_decode_checkpoint = msgspec.json.Decoder(Checkpoint).decode


def write_state(topic: str, partition: int, record: StateRecord) -> Outgoing:
    """A snapshot, a tombstone or a checkpoint as a Kafka record."""
    match record.content:
        case Snapshot(task_id=task_id, task=task, as_of=as_of):
            key = task_id.encode()
            value = None if task is None else _value(record, task_id, as_of, task)
        case Checkpoint(offset=as_of):
            key, value = CHECKPOINT_KEY, _value(record, TaskId(""), as_of, record.content)
        case None:
            raise ValueError("there is nothing to write")
    return Outgoing(
        topic=topic,
        partition=partition,
        key=key,
        value=value,
        headers=_headers(record.by, as_of),
    )


def read_state(record: Origin) -> StateRecord:
    """What a Kafka record of ``task-state`` says; its content is None if nobody can read it."""
    epoch = header_text(record.headers, "epoch") or ""
    owner = header_text(record.headers, "owner")
    as_of = header_text(record.headers, "as_of") or ""
    if owner is None or not epoch.isdecimal() or not as_of.isdecimal() or not record.key:
        return StateRecord(None, _NOBODY, record.offset)
    by = Ownership(int(epoch), owner)
    if record.value is None:
        task_id = TaskId(record.key.decode(errors="replace"))
        tombstone = Snapshot(task_id=task_id, task=None, as_of=int(as_of))
        return StateRecord(tombstone, by, record.offset)
    try:
        state = decode(record.value, TaskState)
        if record.key == CHECKPOINT_KEY:
            return StateRecord(_decode_checkpoint(state.state), by, record.offset)
        task = _decode_task(state.state)
    except (DecodeError, msgspec.DecodeError):
        return StateRecord(None, _NOBODY, record.offset)
    snapshot = Snapshot(task_id=state.task_id, task=task, as_of=state.as_of)
    return StateRecord(snapshot, by, record.offset)


def _value(record: StateRecord, task_id: TaskId, as_of: int, state: Task | Checkpoint) -> bytes:
    return encode(
        TaskState(
            task_id=task_id,
            owner=record.by.owner,
            owner_epoch=record.by.epoch,
            as_of=as_of,
            state=Json(_encode_json(state).decode()),
        )
    )


def _headers(by: Ownership, as_of: int) -> Headers:
    return [
        ("epoch", str(by.epoch).encode()),
        ("owner", by.owner.encode()),
        ("as_of", str(as_of).encode()),
    ]
