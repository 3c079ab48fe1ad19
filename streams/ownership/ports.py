"""The ports of an owner: the log, the snapshots, the inputs, and where effects go.

Everything that waits is in here, so that the protocol itself can run against a simulated
world (``tests/simulation``). The real one is :mod:`streams.ownership.kafka_world`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from schemas.dead_letter import Failure
from schemas.records import TaskEvent, TaskId
from streams.envelopes import Trace
from streams.history.acceptance import Ownership
from tasks.effects import Effect
from tasks.inputs import Input
from tasks.task import Task

CHECKPOINT = "/checkpoint"
ADOPTION = "/adoption/"
"""Keys in ``task-state``; a topic follows the second one. A task's id cannot contain a slash."""

Sealed = object
"""Something ready to be sent; only the world that made it reads its content."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A record of ``task-events``."""

    offset: int
    event: TaskEvent | None
    """None: the record cannot be decoded, so no owner wrote it."""
    trace: Trace = field(default_factory=dict)
    """The trace in the record's headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The offset from which a successor has to read the log."""

    offset: int
    """All events below this offset are in snapshots, and their effects are done."""
    state_from: int
    """An offset of ``task-state``: what a former owner wrote from there on came late."""
    decided_created: int
    """The highest offset of ``task-created`` that was decided; -1 before the first."""
    partitions: int
    """How many partitions the system had."""
    topics: Mapping[str, str] = field(default_factory=dict)
    """The ids of the topics that the offsets here and in the snapshots belong to, by name. Empty:
    the broker knows no ids, or an older version wrote this."""
    orphans: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By input topic, the offsets that were decided for tasks that are not remembered, and that
    may still be delivered again. The events that show it may be below ``offset``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """An operator's statement that a topic with another id than remembered is to be used."""

    topic: str
    topic_id: str
    made_again: bool
    """True: the topic was made again, and its offsets begin at 0. False: the topic holds the same
    records at the same offsets, as a mirror of it does, or only lost its oldest ones."""
    log_start: int
    """The first offset of the partition at that time: records before it are given up."""
    actor: str
    reason: str
    at: int
    """Unix milliseconds, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What an owner knew of one task; it may be outdated, never wrong."""

    task_id: TaskId
    task: Task | None
    """None: the task is forgotten."""
    as_of: int
    """The offset in ``task-events`` up to which the snapshot is complete."""
    trace: Trace = field(default_factory=dict)
    """The trace of the task's newest event, while the task runs."""


@dataclass(frozen=True, slots=True)
class Committed:
    """The position of our group in an input topic."""

    offset: int
    epoch: int | None
    """Of the owner that acknowledged up to there. Another process may be the owner meanwhile, and
    the group may not know. None: an older version committed, which did not say it."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record of ``task-state`` that an owner wrote and this version cannot read."""

    key: str | None
    """The record's key: a task's id. None: a whole batch is unreadable, its content unknown."""
    reason: str


@dataclass(frozen=True, slots=True)
class StateRecord:
    """A record of ``task-state``: a snapshot, its writer's checkpoint, or an adoption."""

    content: Snapshot | Checkpoint | Adoption | Unreadable | None
    """None: no owner wrote the record."""
    by: Ownership
    """The writer: the ownership that held at its offset in ``task-events``."""
    offset: int = -1


class Arrival(Protocol):
    """An input record that this process has to acknowledge, in offset order for each topic."""

    topic: str
    offset: int

    def read(self) -> Input:
        """Decode it.

        Raises:
            DecodeError, InvalidRecordError: the record belongs in the dead-letter topic.
        """

    def trace(self) -> Trace:
        """The trace headers of what follows from the record; call it when it is decided."""

    def ack(self) -> None:
        """Acknowledge: everything that follows from the record is delivered."""


class World(Protocol):
    """One partition, as its owner reaches it. Every call is bounded in time.

    Raises (all methods that wait):
        KafkaUnavailableError: nothing was read; stop, or try again.
        PublishError: it is unknown whether a record was written: stop, the successor reads the log.
    """

    async def log_bounds(self) -> tuple[int, int]:
        """The first offset that ``task-events`` still has, and the offset of its next record."""

    async def log_end(self) -> int:
        """The offset that the next record of ``task-events`` gets."""

    async def log_read(self, start: int, end: int) -> tuple[Sequence[Logged], int]:
        """Some records from ``start`` on, below ``end``, and where to go on."""

    async def log_append(self, events: Sequence[Sealed]) -> Sequence[int]:
        """Append events; the offset of each, -1 where the broker did not return one."""

    async def state_bounds(self) -> tuple[int, int]:
        """As :meth:`log_bounds`, of ``task-state``."""

    async def state_end(self) -> int:
        """As :meth:`log_end`, of ``task-state``."""

    async def state_read(self, start: int, end: int) -> tuple[Sequence[StateRecord], int]:
        """As :meth:`log_read`, of ``task-state``."""

    async def state_write(self, records: Sequence[StateRecord]) -> Sequence[int]:
        """Write snapshots or a checkpoint; returns as :meth:`log_append` does."""

    async def committed(self) -> Mapping[str, Committed]:
        """The position of each input topic that has one, as the broker reports it."""

    async def input_bounds(self) -> Mapping[str, tuple[int, int]]:
        """The first offset of each input topic, and the offset of its next record."""

    async def clock_difference_ms(self, *, at_most_ms: int) -> int | None:
        """Our clock minus the broker's; None: unknown. If above ``at_most_ms``, just measured."""

    async def topic_ids(self) -> Mapping[str, str]:
        """The ids of the inputs and of the log, by topic; empty if the broker knows no ids."""

    async def no_input_between(self, topic: str, start: int, end: int) -> bool:
        """True if ``start <= offset < end`` holds no record (markers, compaction)."""

    def seal_event(self, event: TaskEvent, trace: Trace) -> Sealed:
        """Make an event ready to be appended; EncodeError if no record can hold it."""

    def seal_effect(self, effect: Effect, trace: Trace) -> Sealed:
        """Make an effect ready to be sent; EncodeError as above."""

    def seal_forward(self, arrival: Arrival, partition: int) -> Sealed:
        """Make an input ready to go to the partition of its key."""

    async def send(self, effects: Sequence[Sealed]) -> None:
        """Send effects and forwarded inputs; return when all are acknowledged."""

    async def dead_letter(self, letters: Sequence[tuple[Arrival, Failure]]) -> None:
        """Dead-letter inputs; return when all are acknowledged."""
