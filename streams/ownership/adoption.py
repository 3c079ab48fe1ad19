"""An operator's statement that a topic is to be used although its id is not the remembered one.

The statement is a record in every partition of ``task-state``, where the owners read it at their
next takeover. It names the id of the topic, so it does not apply to a later topic of that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    return found[0]


async def candidates(
    kafka: KafkaSettings, topics: Topics, wanted: Sequence[str]
) -> list[Candidate]:
    """Look at several topics; the remembered offsets are read once for all of them.

    Topics that do not exist are left out. The result is empty if the broker knows no ids.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    async with Admin(kafka) as admin:
        ids = await admin.topic_ids([*wanted, topics.task_state]) or {}
    existing = [topic for topic in wanted if topic in ids]
    async with LogReader(kafka, client_id=f"{kafka.client_id}-adopt", committed=False) as reader:
        checkpoints: _Checkpoints = {}
        if existing and topics.task_state in ids:
            for partition in await reader.partitions(topics.task_state):
                checkpoints[partition] = await _checkpoint(reader, topics, partition)
        return [
            Candidate(
                topic=topic,
                topic_id=ids[topic],
                partitions=[
                    await _remembered(reader, topics, (topic, partition), checkpoints)
                    for partition in await reader.partitions(topic)
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
                f"{candidate.topic}[{known.partition}] is no mirror: it ends at {known.end}, "
                f"{wanted} is remembered"
                if shorter
                else f"{candidate.topic}[{known.partition}] is no mirror: others wrote it"
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


async def _remembered(
    reader: LogReader, topics: Topics, place: tuple[str, int], checkpoints: _Checkpoints
) -> Remembered:
    topic, partition = place
    checkpoint, by = checkpoints.get(partition, (None, Ownership(_NO_EPOCH, "")))
    first, end = await reader.bounds(topic, partition)
    same_owner = True
    of_log = checkpoint is not None and topic == topics.task_events
    if of_log and checkpoint is not None and first < checkpoint.offset <= end:
        same_owner = by == await ownership_before(reader, topic, partition, checkpoint.offset)
    return Remembered(
        partition=partition,
        checkpoint=checkpoint,
        by=by,
        first=first,
        end=end,
        same_owner=same_owner,
    )


async def _checkpoint(
    reader: LogReader, topics: Topics, partition: int
) -> tuple[Checkpoint | None, Ownership]:
    found, by = None, Ownership(_NO_EPOCH, "")
    start, end = await reader.bounds(topics.task_state, partition)
    async for records in reader.read(topics.task_state, partition, start, end):
        for record in map(read_state, records):
            if isinstance(record.content, Checkpoint):
                found, by = record.content, record.by
    return found, by
