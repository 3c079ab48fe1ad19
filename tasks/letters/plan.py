"""What a replay does with a dead letter. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from schemas.codec import decode, encode
from schemas.dead_letter import ReplayMark, replay_headers
from schemas.dead_letter_record import DeadLetter
from schemas.errors import DecodeError
from schemas.headers import Headers, cloudevent_headers
from schemas.records import (
    CommandKind,
    Millis,
    StepCommand,
    TaskCommand,
    TaskCreated,
    TaskEvent,
    TaskId,
)
from schemas.topics import Topics
from tasks.letters.known import KnownLetter
from tasks.letters.ledger import REPLAYS_MAX, LetterStatus

# UUIDv5 of the URL namespace and "ai-orchestrator/replay-command".
_COMMANDS = uuid.UUID("8236be43-6f28-5522-bdcf-bd4e12f52fd5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Publish a record: the original one to where it failed, or a command that retries."""

    topic: str
    key: bytes | None
    """None: send to ``partition``."""
    partition: int
    """The partition of the dead letter; a record with a key goes to the partition of its key."""
    value: bytes | None
    headers: Headers
    count: int
    """The number of this replay."""


@dataclass(frozen=True, slots=True)
class WriteRows:
    """Rewrite the rows of this task from the log. Its topic does not take replayed records."""

    task_id: TaskId
    count: int


@dataclass(frozen=True, slots=True)
class Park:
    """The letter was replayed too often already."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Nothing is done; the reason is one of a few values, for counts."""

    reason: str


Verdict = Send | WriteRows | Park | Skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOrder:
    """The actor, time and reason of a replay."""

    replay_id: str
    actor: str
    reason: str
    force: bool = False
    """Replay also letters that are replaying, resolved, parked or discarded."""


def plan(known: KnownLetter, order: ReplayOrder, topics: Topics, now: Millis) -> Verdict:
    """Decide what to do with a letter."""
    if not order.force:
        if known.status is LetterStatus.PARKED and known.state.status is LetterStatus.OPEN:
            return Park()
        if known.status is not LetterStatus.OPEN:
            return Skip(known.status.value)
    letter, count = known.letter, known.state.replays + 1
    if not letter.whole and known.state.edited is None:
        return Skip("not_whole")
    mark = ReplayMark(
        count=count, of=letter.id, replay_id=order.replay_id, by=order.actor, at_ms=now
    )
    if letter.topic == topics.task_events:
        return _rows(letter, count)
    if letter.of_step:
        return _retry(letter, order, topics, mark)
    if topics.record_of(letter.topic) is None:
        return Skip("foreign_topic")
    value = letter.value if known.state.edited is None else known.state.edited
    return Send(
        topic=letter.topic,
        key=letter.key if known.state.edited is None else _key_of(value, letter, topics),
        partition=letter.partition,
        value=value,
        headers=replay_headers(list(letter.headers), mark),
        count=count,
    )


def created_tasks(
    known_letters: Iterable[KnownLetter], order: ReplayOrder, topics: Topics, now: Millis
) -> list[TaskCreated]:
    """The tasks that a replay of these letters would create, as far as they can be decoded."""
    tasks: list[TaskCreated] = []
    for known in known_letters:
        verdict = plan(known, order, topics, now)
        if isinstance(verdict, Send) and verdict.topic == topics.task_created:
            with suppress(DecodeError):  # it becomes a dead letter again
                tasks.append(decode(verdict.value, TaskCreated))
    return tasks


def replays_left(known: KnownLetter) -> int:
    """How often a letter may still be replayed without force."""
    return max(0, REPLAYS_MAX - known.state.replays)


def _rows(letter: DeadLetter, count: int) -> Verdict:
    try:
        event = decode(letter.value, TaskEvent)
    except DecodeError:
        # No reader can decode it, now or later.
        return Skip("no_event")
    return WriteRows(event.task_id, count)


def _retry(letter: DeadLetter, order: ReplayOrder, topics: Topics, mark: ReplayMark) -> Verdict:
    """A retry of the task: its owner decides, and ignores it if the task went on."""
    try:
        failed = decode(letter.value, StepCommand)
    except DecodeError:
        return Skip("no_command")
    # The same replay of the same letter gets the same command id.
    command_id = str(uuid.uuid5(_COMMANDS, f"{letter.id}/{mark.count}/{order.replay_id}"))
    command = TaskCommand(
        command_id=command_id,
        task_id=failed.task_id,
        tenant_id=failed.tenant_id,
        kind=CommandKind.RETRY,
        from_step=failed.step,
        run=failed.run,
        reason=order.reason,
        actor=order.actor,
        issued_at=Millis(mark.at_ms),
    )
    headers = cloudevent_headers(
        event_id=command_id,
        event_type="orchestrator.v1.TaskCommand.retry",
        time_ms=mark.at_ms,
        task_id=failed.task_id,
        tenant_id=failed.tenant_id,
        trace={"traceparent": letter.traceparent} if letter.traceparent else {},
    )
    return Send(
        topic=topics.task_commands,
        key=failed.task_id.encode(),
        partition=letter.partition,
        value=encode(command),
        headers=replay_headers(headers, mark),
        count=mark.count,
    )


def _key_of(value: bytes | None, letter: DeadLetter, topics: Topics) -> bytes | None:
    """The key of an edited record: its task's id, which the edit may have changed."""
    record_type = topics.record_of(letter.topic)
    if record_type is None:
        return letter.key
    try:
        task_id = getattr(decode(value, record_type), "task_id", None)
    except DecodeError:
        return letter.key
    return letter.key if task_id is None else str(task_id).encode()
