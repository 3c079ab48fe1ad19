"""What an owner sees of the world: the log, the snapshots, its inputs, and where effects go.

Everything that waits is in here, so that the protocol itself can be run against a simulated
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
"""Keys in ``task-state``, the second one followed by a topic. No task's id can have a slash."""

Sealed = object
"""Something ready to be sent; only the world that made it looks inside."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A record of ``task-events``."""

    offset: int
    event: TaskEvent | None
    """None: nobody can read it, so nobody who owns the partition wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """From where a successor has to read the log."""

    offset: int
    """All events below are in snapshots, and their effects are done."""
    state_from: int
    """Of ``task-state``: what a former owner wrote from here on came late."""
    decided_created: int
    """The highest offset of ``task-created`` that was decided; -1: none."""
    partitions: int
    """How many partitions the system had."""
    topics: Mapping[str, str] = field(default_factory=dict)
    """The ids of the topics that the offsets here and in the snapshots belong to, by name. Empty:
    the broker knows no ids, or an older version wrote this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """An operator's word that a topic is to be used although it is not the one that it was."""

    topic: str
    topic_id: str
    made_again: bool
    """True: the topic was made again, and its offsets begin anew. False: the topic holds the same
    records at the same offsets, as a mirror of it does, or only lost its oldest ones."""
    log_start: int
    """The first offset that the partition had then: what lies before is given up."""
    actor: str
    reason: str
    at: int
    """Unix milliseconds, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What an owner knew of one task; it may be old, never wrong."""

    task_id: TaskId
    task: Task | None
    """None: the task is forgotten."""
    as_of: int
    """The offset in ``task-events`` up to which it is complete."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What an owner wrote into ``task-state`` and this version cannot read."""

    key: str | None
    """Of the record: a task's id. None: a whole batch, and nobody knows what was in it."""
    reason: str


@dataclass(frozen=True, slots=True)
class StateRecord:
    """A record of ``task-state``: a snapshot, its writer's checkpoint, or an adoption."""

    content: Snapshot | Checkpoint | Adoption | Unreadable | None
    """None: no owner wrote it."""
    by: Ownership
    """Who wrote it: the ownership that held at its offset in ``task-events``."""
    offset: int = -1


class Arrival(Protocol):
    """An input record that this process has to acknowledge, in offset order for each topic."""

    topic: str
    offset: int

    def read(self) -> Input:
        """Decode it.

        Raises:
            DecodeError, InvalidRecordError: it belongs into the dead-letter topic.
        """

    def trace(self) -> Trace:
        """The trace that it carries on."""

    def ack(self) -> None:
        """All that follows from it is delivered."""


class World(Protocol):
    """One partition, as its owner reaches it. Every call is bounded.

    Raises (all that wait):
        KafkaUnavailableError: nothing was read; stop, or try again.
        PublishError: whether something was written is unknown: stop, the successor looks.
    """

    async def log_bounds(self) -> tuple[int, int]:
        """The first offset of ``task-events`` that is there, and that of the next record."""

    async def log_end(self) -> int:
        """The offset that the next record of ``task-events`` gets."""

    async def log_read(self, start: int, end: int) -> tuple[Sequence[Logged], int]:
        """Some records from ``start`` on, below ``end``, and where to go on."""

    async def log_append(self, events: Sequence[Sealed]) -> Sequence[int]:
        """Append events; the offset of each, -1 where the broker does not tell."""

    async def state_bounds(self) -> tuple[int, int]:
        """As :meth:`log_bounds`, of ``task-state``."""

    async def state_end(self) -> int:
        """As :meth:`log_end`, of ``task-state``."""

    async def state_read(self, start: int, end: int) -> tuple[Sequence[StateRecord], int]:
        """As :meth:`log_read`, of ``task-state``."""

    async def state_write(self, records: Sequence[StateRecord]) -> Sequence[int]:
        """Write snapshots or a checkpoint; returns as :meth:`log_append` does."""

    async def committed(self) -> Mapping[str, int]:
        """For each input topic with one: the offset that the broker says is committed."""

    async def input_bounds(self) -> Mapping[str, tuple[int, int]]:
        """The first offset of each input topic, and that of the next record."""

    async def clock_difference_ms(self, *, at_most_ms: int) -> int | None:
        """Our clock less the broker's; None: not known. A larger one was measured just now."""

    async def topic_ids(self) -> Mapping[str, str]:
        """The ids of the inputs and of the log, by topic; empty if the broker knows none."""

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
