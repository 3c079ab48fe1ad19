"""Compares the projection with a table set that was built from the log up to the same positions."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import asyncpg

from sinks.missing import Missing
from sinks.pool import Connection
from sinks.queries import SCHEMA, query
from sinks.table_set import BUILT_SCHEMA
from sinks.writer import Position

DIFFERENCES_MAX = 100
"""Differences that are listed; all are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that does not match the log."""

    task_id: str
    kind: str
    """``task``, ``step`` or ``event``; ``count`` for a metric, which has no task."""
    place: str
    """For a task its creation time, for a step ``run/step/attempt``, for an event its position, for
    a count ``partition/metric/labels/bucket``."""
    what: str
    """``missing``, ``differs``, or ``not in the log``."""


@dataclass(slots=True)
class Comparison:
    """The result of a comparison."""

    tasks: int = 0
    """Tasks that were compared: the log still holds them."""
    rows: int = 0
    """Rows that the log makes for these tasks."""
    older: int = 0
    """Rows of tasks that began before the log does; these cannot be compared."""
    counted: int = 0
    """Partitions whose counts were compared."""
    unwritten: int = 0
    """Records of the log that the sink has not written yet; these were not compared."""
    differences: int = 0
    missing: Missing = field(default_factory=Missing)
    """What is missing and cannot be compared, because the log no longer holds it."""
    listed: list[Difference] = field(default_factory=list)
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def hash(self) -> str:
        """Hash of the rows of the compared tasks, without identities and write times."""
        return self._digest.hexdigest()

    def add(self, task_id: str, stored: _Rows, built: _Rows) -> None:
        """Compare all rows of one task."""
        self.tasks += 1
        self.rows += len(built)
        for (kind, place), digest in stored.items():
            self._digest.update(f"{task_id}\0{kind}\0{place}\0{digest}\n".encode())
        for kind, place in sorted(stored.keys() | built.keys()):
            one, other = stored.get((kind, place)), built.get((kind, place))
            if one != other:
                what = (
                    "missing" if one is None else "not in the log" if other is None else "differs"
                )
                self.differ(Difference(task_id, kind, place, what))

    def differ(self, difference: Difference) -> None:
        """Note a difference."""
        self.differences += 1
        if len(self.listed) < DIFFERENCES_MAX:
            self.listed.append(difference)


_Rows = dict[tuple[str, str], str]


async def compare(
    stored: Connection,
    built: Connection,
    first_offsets: Mapping[int, int],
    positions: Mapping[int, Position],
) -> Comparison:
    """Compare row by row.

    Args:
        stored: a session in a snapshot of the projection.
        built: a session that sees the table set, built up to the snapshot's ``positions``.
        first_offsets: for each partition, the first offset of the log that was read.
        positions: the positions of the sink, in the snapshot.
    """
    result = Comparison()
    there = _tasks(stored, SCHEMA, first_offsets)
    right = _tasks(built, BUILT_SCHEMA, first_offsets)
    left_task, right_task = await anext(there, None), await anext(right, None)
    while left_task or right_task:
        if left_task is None or (right_task is not None and right_task.id < left_task.id):
            assert right_task is not None
            _judge(result, _Task(right_task.id), right_task)
            right_task = await anext(right, None)
        elif right_task is None or left_task.id < right_task.id:
            _judge_unknown(result, left_task, first_offsets, positions)
            left_task = await anext(there, None)
        else:
            _judge(result, left_task, right_task)
            left_task, right_task = await anext(there, None), await anext(right, None)
    return result


async def compare_counts(
    result: Comparison,
    stored: Connection,
    built: Connection,
    first_offsets: Mapping[int, int],
) -> None:
    """Compare the counts of the partitions where this is exact.

    These are the partitions that were counted from their beginning, and whose log still holds it.
    Tenants and models are added up, because each writer names them as it goes.
    """
    rows = await stored.fetch(query("read_counted_whole"))
    whole = [row[0] for row in rows if first_offsets.get(row[0]) == 0]
    there, right = await _counted(stored, SCHEMA, whole), await _counted(built, BUILT_SCHEMA, whole)
    result.counted += len(whole)
    for place in sorted(there.keys() | right.keys()):
        one, other = there.get(place), right.get(place)
        if one != other:
            what = "missing" if one is None else "not in the log" if other is None else "differs"
            result.differ(Difference("", "count", place, what))


async def _counted(conn: Connection, schema: str, partitions: list[int]) -> dict[str, str]:
    rows = await conn.fetch(query("sum_counts", schema), partitions)
    return {"/".join(map(str, row[:4])): row["counted"] for row in rows}


@dataclass(slots=True)
class _Task:
    id: str
    rows: _Rows = field(default_factory=dict)
    whole: bool = False
    """True if its created event is among the rows."""
    last: tuple[int, int] | None = None
    """Partition and offset of the last event of its task row."""

    def add(self, row: asyncpg.Record) -> None:
        self.rows[row["kind"], row["place"]] = row["digest"]
        self.whole |= row["created"]
        if row["kind"] == "task":
            self.last = (row["log_partition"], row["event_offset"])


def _judge(result: Comparison, stored: _Task, built: _Task) -> None:
    if built.whole:
        result.add(built.id, stored.rows, built.rows)
    else:
        result.older += len(stored.rows)


def _judge_unknown(
    result: Comparison,
    stored: _Task,
    first_offsets: Mapping[int, int],
    positions: Mapping[int, Position],
) -> None:
    """A task that the log does not hold: older than the log, or of unknown origin."""
    if stored.last is not None:
        partition, offset = stored.last
        first, position = first_offsets.get(partition), positions.get(partition)
        if first is not None and position and first <= offset < position.next_offset:
            for kind, place in stored.rows:
                result.differ(Difference(stored.id, kind, place, "not in the log"))
            return
    result.older += len(stored.rows)


async def _tasks(
    conn: Connection, schema: str, first_offsets: Mapping[int, int]
) -> AsyncIterator[_Task]:
    """The tasks of a table set with their rows, sorted by id, a few thousand rows in memory."""
    cursor = conn.cursor(
        query("digests", schema), list(first_offsets), list(first_offsets.values()), prefetch=5_000
    )
    task: _Task | None = None
    async for row in cursor:
        if task is None or task.id != row["id"]:
            if task is not None:
                yield task
            task = _Task(row["id"])
        task.add(row)
    if task is not None:
        yield task
