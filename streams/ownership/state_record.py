"""The records of ``task-state``: snapshots, tombstones, checkpoints. Only this system reads them.

They may change between versions. Each version reads the records of the one before, or reports
that it cannot: a snapshot that was skipped would be a task that is forgotten.

| record     | key           | value                            |
|------------|---------------|----------------------------------|
| snapshot   | the task's id | ``TaskState`` with the task      |
| tombstone  | the task's id | no value                         |
| checkpoint | ``/checkpoint`` | ``TaskState`` without a task id |
| adoption   | ``/adoption/TOPIC`` | ``TaskState`` without a task id |

An operator's command writes an adoption, owners write the others. Each record carries
``epoch``, ``owner`` and ``as_of`` in its headers, because a tombstone has no value that could
name its writer. ``version`` is the form of the value; the first form had no such header. A
snapshot of a running task also carries the headers of the task's trace, if it has one.
"""

import msgspec

from schemas.codec import decode, encode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.headers import Headers, header_text
from schemas.records import Json, TaskId, TaskState
from streams.envelopes import Trace
from streams.history.acceptance import Ownership
from streams.kafka.publisher import Outgoing
from streams.ownership.ports import (
    ADOPTION,
    CHECKPOINT,
    Adoption,
    Checkpoint,
    Snapshot,
    StateRecord,
    Unreadable,
)
from streams.traceparent import passed_on
from tasks.task import Task

STATE_VERSION = 2
"""The form that this version writes. Raise it when an older version could misread the new form.

| version | what is new |
|---------|-------------|
| 1       | no header ``version`` |
| 2       | checkpoints name the ids of the topics that their offsets belong to |
"""

CHECKPOINT_KEY = CHECKPOINT.encode()
ADOPTION_PREFIX = ADOPTION.encode()

_NOBODY = Ownership(0, "")
_encode_json = msgspec.json.Encoder().encode
_decode_task = msgspec.json.Decoder(Task).decode
_decode_checkpoint = msgspec.json.Decoder(Checkpoint).decode
_decode_adoption = msgspec.json.Decoder(Adoption).decode


def write_state(topic: str, partition: int, record: StateRecord) -> Outgoing:
    """A snapshot, a tombstone, a checkpoint or an adoption as a Kafka record."""
    trace: Trace = {}
    match record.content:
        case Snapshot(task_id=task_id, task=task, as_of=as_of, trace=trace):
            key = task_id.encode()
            value = None if task is None else _value(record, task_id, as_of, task)
        case Checkpoint(offset=as_of):
            key, value = CHECKPOINT_KEY, _value(record, TaskId(""), as_of, record.content)
        case Adoption(topic=adopted):
            as_of = 0
            key = ADOPTION_PREFIX + adopted.encode()
            value = _value(record, TaskId(""), as_of, record.content)
        case Unreadable() | None:
            raise ValueError("there is nothing to write")
    return Outgoing(
        topic=topic,
        partition=partition,
        key=key,
        value=value,
        headers=_headers(record.by, as_of, trace),
    )


def read_state(record: Origin) -> StateRecord:
    """Decode a Kafka record of ``task-state``.

    The content is None if no owner wrote the record. It is :class:`Unreadable` if an owner wrote
    the record and this version cannot read it or cannot take it out of its batch.
    """
    if record.fault is not None:
        return StateRecord(Unreadable(None, record.fault.message), _NOBODY, record.offset)
    epoch = header_text(record.headers, "epoch") or ""
    owner = header_text(record.headers, "owner")
    as_of = header_text(record.headers, "as_of") or ""
    if owner is None or not epoch.isdecimal() or not as_of.isdecimal() or not record.key:
        return StateRecord(None, _NOBODY, record.offset)
    return StateRecord(_content(record, int(as_of)), Ownership(int(epoch), owner), record.offset)


def _content(record: Origin, as_of: int) -> Snapshot | Checkpoint | Adoption | Unreadable:
    assert record.key is not None
    of_task = record.key != CHECKPOINT_KEY and not record.key.startswith(ADOPTION_PREFIX)
    key = record.key.decode(errors="replace")
    if record.value is None and of_task:
        return Snapshot(task_id=TaskId(key), task=None, as_of=as_of)
    version = header_text(record.headers, "version") or "1"
    if not version.isdecimal() or int(version) > STATE_VERSION:
        return Unreadable(key, f"its version is {version[:20]}, known is {STATE_VERSION}")
    try:
        state = decode(record.value, TaskState)
        if record.key == CHECKPOINT_KEY:
            return _decode_checkpoint(state.state)
        if not of_task:
            return _decode_adoption(state.state)
        task = _decode_task(state.state)
    except (DecodeError, msgspec.DecodeError) as error:
        return Unreadable(key, f"{type(error).__name__}: {error}")
    trace = passed_on(record.headers)
    return Snapshot(task_id=state.task_id, task=task, as_of=state.as_of, trace=trace)


def _value(
    record: StateRecord, task_id: TaskId, as_of: int, state: Task | Checkpoint | Adoption
) -> bytes:
    return encode(
        TaskState(
            task_id=task_id,
            owner=record.by.owner,
            owner_epoch=record.by.epoch,
            as_of=as_of,
            state=Json(_encode_json(state).decode()),
        )
    )


def _headers(by: Ownership, as_of: int, trace: Trace) -> Headers:
    return [
        ("epoch", str(by.epoch).encode()),
        ("owner", by.owner.encode()),
        ("as_of", str(as_of).encode()),
        ("version", str(STATE_VERSION).encode()),
        *((name, text.encode()) for name, text in trace.items()),
    ]
