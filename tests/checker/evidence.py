"""Everything that a system left behind, read at one time: what the checker judges."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.checker.wire import Kept, Position

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The projection, read in one transaction. Times are Unix milliseconds, JSON is parsed."""

    tasks: Sequence[Row] = ()
    task_steps: Sequence[Row] = ()
    task_execution_logs: Sequence[Row] = ()
    sink_offsets: Sequence[Row] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Topics, committed offsets and tables.

    Offsets and tables were read before the topics, so what they imply is in the topics even
    if the system ran on meanwhile.
    """

    prefix: str = "orchestrator."
    partitions: int
    records: Mapping[tuple[str, int], Sequence[Kept]]
    """By topic and partition, in offset order."""
    starts: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """The first offset that is still there, where it is not 0."""
    ends: Mapping[tuple[str, int], int] = field(default_factory=dict)
    committed: Mapping[tuple[str, str, int], int] = field(default_factory=dict)
    """By group (without prefix), topic and partition."""
    tables: Tables | None = None
    """None: Postgres was not read."""
    now_ms: int = 0

    def topic(self, name: str) -> str:
        """The whole name of ``task-created`` and the like."""
        return f"{self.prefix}{name}.v1"

    def partition(self, name: str, partition: int) -> Sequence[Kept]:
        return self.records.get((self.topic(name), partition), ())

    def all_of(self, name: str) -> Iterator[Kept]:
        """The records of a topic, partition by partition."""
        return self.of_topics(self.topic(name))

    def of_topics(self, start: str) -> Iterator[Kept]:
        """The records of all topics whose names begin so."""
        for (topic, _), records in sorted(self.records.items()):
            if topic.startswith(start):
                yield from records

    def at(self, position: Position) -> Kept | None:
        """The record at a position; None if it is not, or no more, there."""
        topic, partition, offset = position
        records = self.records.get((topic, partition), ())
        index = offset - records[0].offset if records else -1
        if 0 <= index < len(records) and records[index].offset == offset:
            return records[index]
        return next((record for record in records if record.offset == offset), None)

    def expired(self, position: Position) -> bool:
        """True if retention has deleted what was at a position."""
        topic, partition, offset = position
        return offset < self.starts.get((topic, partition), 0)

    def commit_of(self, group: str, topic: str, partition: int) -> int:
        """Up to where a group is done; 0 if it never committed."""
        return self.committed.get((group, topic, partition), 0)
