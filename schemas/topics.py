"""The topic table: every topic, its writers and readers, its content and its retention.

``orchestrator topics list|apply``, every reader and writer, and the documentation use this one
table. Topics are created from it and never by auto-creation.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from schemas.limits import Limits
from schemas.records import (
    Control,
    DeadLetterAction,
    Lane,
    Record,
    StepCommand,
    StepName,
    StepResult,
    StreamChunk,
    TaskCommand,
    TaskCreated,
    TaskEvent,
    TaskState,
)

LANES = (Lane.HIGH, Lane.NORMAL, Lane.LOW)
"""The lanes of a step, most urgent first."""

DLQ_PREFIX = "dlq."

COPIES_MAX = 3
"""Copies of a partition on a cluster with at least this number of brokers."""

_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,100}")
_PARTITIONS_MAX = 100_000
"""More than a cluster bears of one topic."""
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
# A batch adds its own header, and its records their keys and headers, to the values, whose
# size the limits restrict.
_ENVELOPE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicsSettings:
    """``ORCH_TOPICS_<FIELD>``. The same in every process of one system."""

    prefix: str = "orchestrator."
    """The beginning of each topic's name, so that several systems can share a cluster."""

    partitions: int = 12
    """Partitions of every co-partitioned topic. Never change it once topics exist: the partition
    of a task is its key's hash, modulo this."""

    replication_factor: int | None = None
    """Copies of each partition; from 3 on, a write needs 2 of them (``min.insync.replicas``).
    If unset: as many as the cluster has brokers, at most 3."""

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(
                f"prefix is {self.prefix!r}; at most 100 letters, digits and ._- that begin the "
                "name of a topic"
            )
        if self.partitions < 1:
            raise ValueError(f"partitions is {self.partitions}; it must be at least 1")
        if self.partitions > _PARTITIONS_MAX:
            raise ValueError(
                f"partitions is {self.partitions}; it must be at most {_PARTITIONS_MAX}"
            )
        if self.replication_factor is not None and self.replication_factor < 1:
            raise ValueError(
                f"replication_factor is {self.replication_factor}; it must be at least 1"
            )

    @property
    def copies(self) -> int:
        """Copies of each partition; 3 if neither a setting nor a cluster gives the number."""
        return COPIES_MAX if self.replication_factor is None else self.replication_factor

    def on_cluster(self, brokers: int) -> "TopicsSettings":
        """These settings with the number of copies for a cluster of ``brokers`` brokers."""
        if self.replication_factor is not None:
            return self
        return replace(self, replication_factor=max(1, min(COPIES_MAX, brokers)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One row of the table."""

    name: str
    record: type[Record] | None
    """The record type of the values; None in a dead-letter topic, which holds its origin's
    bytes."""
    written_by: str
    read_by: str
    partitions: int
    replication_factor: int
    max_bytes: int
    """``max.message.bytes``: the largest batch that the broker accepts."""
    retention_ms: int | None = None
    """None: compacted, the newest value of each key is kept."""
    broker_times: bool = False
    """Records have the broker's time (``LogAppendTime``), with which owners check their clocks."""
    copartitioned: bool = True
    """True: the number of partitions decides where a record is, and never changes. False: more
    partitions than in the table do no harm."""

    @property
    def config(self) -> dict[str, str]:
        """Kafka's topic configuration."""
        config = {"max.message.bytes": str(self.max_bytes)}
        if self.retention_ms is None:
            config["cleanup.policy"] = "compact"
        else:
            config |= {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}
        if self.broker_times:
            config["message.timestamp.type"] = "LogAppendTime"
        if self.replication_factor >= 3:
            config["min.insync.replicas"] = "2"
        return config


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of all topics of one system, and the table of them."""

    settings: TopicsSettings = field(default_factory=TopicsSettings)

    @property
    def task_created(self) -> str:
        """Requests for tasks; every service that may create tasks writes here."""
        return f"{self.settings.prefix}task-created.v1"

    @property
    def task_commands(self) -> str:
        """Commands about existing tasks."""
        return f"{self.settings.prefix}task-commands.v1"

    @property
    def step_results(self) -> str:
        """The results of step commands."""
        return f"{self.settings.prefix}step-results.v1"

    @property
    def task_events(self) -> str:
        """The log: one record for each decision."""
        return f"{self.settings.prefix}task-events.v1"

    @property
    def task_state(self) -> str:
        """Snapshots for the router's recovery."""
        return f"{self.settings.prefix}task-state.v1"

    @property
    def control(self) -> str:
        """Broadcasts to the step workers."""
        return f"{self.settings.prefix}control.v1"

    @property
    def stream(self) -> str:
        """Progress and token deltas; best effort."""
        return f"{self.settings.prefix}stream.v1"

    @property
    def dlq_actions(self) -> str:
        """The actions on dead letters: one partition, so that they have one order."""
        return f"{self.settings.prefix}dlq-actions.v1"

    def step(self, step: StepName, lane: Lane) -> str:
        """The commands of one step in one lane."""
        return f"{self.settings.prefix}steps.{step}.{lane}.v1"

    def lanes(self, step: StepName) -> list[str]:
        """The topics of a step, most urgent first."""
        return [self.step(step, lane) for lane in LANES]

    @property
    def router_inputs(self) -> list[str]:
        """The co-partitioned topics whose records the owner of a task decides."""
        return [self.task_created, self.task_commands, self.step_results]

    def record_of(self, topic: str) -> type[Record] | None:
        """The record type of a topic's values; None for a topic that is not ours."""
        if topic.startswith(f"{self.settings.prefix}steps."):
            return StepCommand
        records: dict[str, type[Record]] = {
            self.task_created: TaskCreated,
            self.task_commands: TaskCommand,
            self.step_results: StepResult,
            self.task_events: TaskEvent,
            self.task_state: TaskState,
            self.control: Control,
            self.stream: StreamChunk,
            self.dlq_actions: DeadLetterAction,
        }
        return records.get(topic)

    def table(self, steps: Iterable[StepName], limits: Limits | None = None) -> list[Topic]:
        """All topics of a system whose pipelines have these steps."""
        limits = limits or Limits()
        record_max = limits.record_max_bytes + _ENVELOPE_BYTES
        event_max = limits.event_max_bytes + _ENVELOPE_BYTES

        def row(
            name: str,
            record: type[Record],
            written_by: str,
            read_by: str,
            *,
            days: float | None,
            max_bytes: int = record_max,
            partitions: int = self.settings.partitions,
            broker_times: bool = False,
            copartitioned: bool = True,
        ) -> Topic:
            return Topic(
                name=name,
                record=record,
                written_by=written_by,
                read_by=read_by,
                partitions=partitions,
                replication_factor=self.settings.copies,
                max_bytes=max_bytes,
                broker_times=broker_times,
                retention_ms=None if days is None else int(days * _DAY_MS),
                copartitioned=copartitioned,
            )

        consumed = [
            row(self.task_created, TaskCreated, "upstream services", "router", days=7),
            row(self.task_commands, TaskCommand, "upstream services", "router", days=7),
            *(
                row(name, StepCommand, "router", "step workers, analytics", days=3)
                for step in steps
                for name in self.lanes(step)
            ),
            row(self.step_results, StepResult, "step workers", "router, analytics", days=7),
            row(
                self.task_events,
                TaskEvent,
                "router",
                "sink, analytics",
                days=90,
                max_bytes=event_max,
            ),
            row(
                self.dlq_actions,
                DeadLetterAction,
                "replay tool, service, dead-letter index",
                "replay tool, service, dead-letter index",
                days=400,
                max_bytes=event_max,
                partitions=1,
                copartitioned=False,
            ),
        ]
        return [
            *consumed,
            row(
                self.task_state,
                TaskState,
                "router",
                "router",
                days=None,
                max_bytes=event_max,
                broker_times=True,
            ),
            row(
                self.control,
                Control,
                "router",
                "step workers",
                days=3,
                partitions=1,
                copartitioned=False,
            ),
            row(
                self.stream, StreamChunk, "step workers", "callers", days=0.25, copartitioned=False
            ),
            *(_dead_letter_topic(topic, event_max) for topic in consumed),
        ]


def dlq(topic: str) -> str:
    """The dead-letter topic of a topic."""
    return DLQ_PREFIX + topic


def _dead_letter_topic(origin: Topic, max_bytes: int) -> Topic:
    # The same number of partitions as the origin: a dead letter keeps its partition.
    return Topic(
        name=dlq(origin.name),
        record=None,
        written_by=f"readers of {origin.name}",
        read_by="replay tool, service, dead-letter index",
        partitions=origin.partitions,
        replication_factor=origin.replication_factor,
        max_bytes=max_bytes,
        retention_ms=30 * _DAY_MS,
        copartitioned=False,
    )
