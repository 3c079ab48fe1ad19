"""An operator's statement that a topic is to be used although its id is not the remembered one.

The statement is a record in every partition of ``task-state``, where the owners read it at their
next takeover. It names the id of the topic, so it does not apply to a later topic of that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from schemas.topics import Topics
from streams.clock import now_ms
from streams.errors import AdoptionRefusedError
from streams.history.acceptance import Ownership
from streams.history.accepted import ownership_before
from streams.kafka.admin import Admin
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Publisher
from streams.ownership.ports import Adoption, Checkpoint, StateRecord
from streams.ownership.state_record import read_state, write_state
from streams.settings import KafkaSettings

_NO_EPOCH = 0
"""Below the epoch of every owner, so that an adoption deposes no owner."""

_Checkpoints = dict[int, tuple[Checkpoint | None, Ownership]]
"""By partition: the newest checkpoint, and its writer."""


class AdoptedAs(StrEnum):
    """What a topic is, compared with the one that is remembered."""

    AGAIN = "again"
    """The topic was made again: its offsets begin at 0, and the remembered ones are dropped."""
    MIRROR = "mirror"
    """The topic holds the same records at the same offsets, as a mirror on another cluster does."""
    TRIMMED = "trimmed"
    """The topic is the same one, and the events that it lost are given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What the owners of one partition remember, and what the topic holds."""

    partition: int
    checkpoint: Checkpoint | None
    by: Ownership
    first: int
    end: int
    same_owner: bool
    """Whether the event before the checkpoint is by the owner that the checkpoint names; true
    if that event is gone, or the topic is not the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A topic, as an operator sees it before adopting it."""

    topic: str
    topic_id: str
    partitions: Sequence[Remembered]


async def candidate(kafka: KafkaSettings, topics: Topics, topic: str) -> Candidate:
    """Look at a topic and at the offsets that routers remember of it.

    Raises:
        AdoptionRefusedError: the topic does not exist, the broker knows no ids, or no router
            remembers offsets of such a topic.
        KafkaUnavailableError: no broker answers.
    """
    if topic not in (*topics.router_inputs, topics.task_events, topics.task_state):
        raise AdoptionRefusedError(f"no router remembers offsets of {topic}")
    found = await candidates(kafka, topics, [topic])
    if not found:
        raise AdoptionRefusedError(f"{topic} does not exist, or its broker knows no ids")
    if topic != topics.task_events:
        return found[0]
    async with _open_reader(kafka) as reader:
        partitions = [await _compared(reader, topic, known) for known in found[0].partitions]
    return replace(found[0], partitions=partitions)


async def candidates(
    kafka: KafkaSettings, topics: Topics, wanted: Sequence[str]
) -> list[Candidate]:
    """Look at several topics; the remembered offsets are read once for all of them.

    The owners are not compared, because that reads each partition: ``same_owner`` is true.
    Topics that do not exist are left out. The result is empty if the broker knows no ids.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    async with Admin(kafka) as admin:
        ids = await admin.topic_ids([*wanted, topics.task_state]) or {}
    existing = [topic for topic in wanted if topic in ids]
    if not existing:
        return []
    async with _open_reader(kafka) as reader:
        # One request for all: each costs a wait when the connection holds a fetch.
        places = await reader.all_partitions(list(ids))
        checkpoints = await _checkpoints(reader, [p for p in places if p[0] == topics.task_state])
        # The bounds last: a checkpoint that is read later may be beyond them.
        bounds = await reader.all_bounds([p for p in places if p[0] in existing])
    return [
        Candidate(
            topic=topic,
            topic_id=ids[topic],
            partitions=[
                _remembered(partition, ends, checkpoints)
                for (of, partition), ends in bounds.items()
                if of == topic
            ],
        )
        for topic in existing
    ]


def check(candidate: Candidate, topics: Topics, how: AdoptedAs) -> None:
    """Refuse an adoption that would certainly lose or repeat work. Pure.

    Raises:
        AdoptionRefusedError: nothing was written.
    """
    of_log = candidate.topic == topics.task_events
    if of_log and how is AdoptedAs.AGAIN:
        raise AdoptionRefusedError(
            "the log is the truth, and a new one does not hold it: restore it, or begin with new "
            "topics (ORCH_TOPICS_PREFIX)"
        )
    if candidate.topic == topics.task_state and how is not AdoptedAs.AGAIN:
        raise AdoptionRefusedError("task-state can only be adopted as made again")
    if how is AdoptedAs.TRIMMED and not of_log:
        raise AdoptionRefusedError("only task-events must not have gaps: nothing to adopt")
    if how is not AdoptedAs.MIRROR:
        return
    for known in candidate.partitions:
        if known.checkpoint is None:
            continue
        decided = known.checkpoint.decided_created + 1
        wanted = known.checkpoint.offset if of_log else decided
        if of_log and known.first > known.checkpoint.offset:
            raise AdoptionRefusedError(
                f"{candidate.topic}[{known.partition}] lost events behind the checkpoint: it is "
                "a mirror that was trimmed; adopt it as trimmed to give them up"
            )
        shorter = known.end < wanted and (of_log or candidate.topic == topics.task_created)
        if shorter or not known.same_owner:
            raise AdoptionRefusedError(
                f"{candidate.topic}[{known.partition}] is not a mirror: it ends at {known.end}, "
                f"{wanted} is remembered"
                if shorter
                else f"{candidate.topic}[{known.partition}] is not a mirror: others wrote it"
            )


async def adopt(
    publisher: Publisher,
    topics: Topics,
    candidate: Candidate,
    how: AdoptedAs,
    *,
    actor: str,
    reason: str,
) -> None:
    """Write the adoption into every partition of ``task-state``.

    The owners use it at their next takeover; an owner that waits because of the topic tries again
    every few seconds.

    Raises:
        AdoptionRefusedError: see :func:`check`; nothing was written.
        PublishError: it is unknown whether the records were written; adopting again is safe.
    """
    check(candidate, topics, how)
    at = now_ms()
    records = []
    for known in candidate.partitions:
        adoption = Adoption(
            topic=candidate.topic,
            topic_id=candidate.topic_id,
            made_again=how is AdoptedAs.AGAIN,
            log_start=known.first,
            actor=actor,
            reason=reason,
            at=at,
        )
        record = StateRecord(adoption, Ownership(_NO_EPOCH, actor))
        records.append(write_state(topics.task_state, known.partition, record))
    await publisher.publish(records)


def _remembered(partition: int, bounds: tuple[int, int], checkpoints: _Checkpoints) -> Remembered:
    checkpoint, by = checkpoints.get(partition, (None, Ownership(_NO_EPOCH, "")))
    first, end = bounds
    return Remembered(
        partition=partition,
        checkpoint=checkpoint,
        by=by,
        first=first,
        end=end,
        same_owner=True,
    )


async def _compared(reader: LogReader, log: str, known: Remembered) -> Remembered:
    """With the owner that wrote the event before the checkpoint compared."""
    point = known.checkpoint
    if point is None or not known.first < point.offset <= known.end:
        return known
    writer = await ownership_before(reader, log, known.partition, point.offset)
    return replace(known, same_owner=known.by == writer)


def _open_reader(kafka: KafkaSettings) -> LogReader:
    return LogReader(kafka, client_id=f"{kafka.client_id}-adopt", committed=False)


async def _checkpoints(reader: LogReader, places: Sequence[tuple[str, int]]) -> _Checkpoints:
    """The newest checkpoint of each of these partitions of ``task-state``."""
    found: _Checkpoints = {}
    async for records in reader.read_all(await reader.all_bounds(places)):
        for record in records:
            state = read_state(record)
            if isinstance(state.content, Checkpoint):
                found[record.partition] = state.content, state.by
    return found
