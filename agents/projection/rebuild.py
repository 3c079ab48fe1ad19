"""Rebuilds and verifies the projection from the log, beside a running sink.

A second table set is folded from the log up to the sink's positions. A rebuild then swaps
its rows in, a verification compares them (docs/adr/0005).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from agents.projection.log_fold import LogFold, holds
from agents.projection.rowless import remembered_tasks
from schemas.limits import Limits
from schemas.topics import Topics
from sinks.counts.recount import Recount
from sinks.missing import NAMED_MAX, Missing, TrimmedRange, gaps
from sinks.schema.migrate import migrate_up
from sinks.settings import PostgresSettings
from sinks.table_set import Swapped, TableSet, long_session, open_table_set, read_positions
from sinks.verify import Comparison, compare, compare_counts
from sinks.writer import Position
from streams.kafka.log_reader import LogReader
from streams.settings import KafkaSettings

log = structlog.get_logger()

_CLOSE = 1_000
"""Records: when the fold is this close to the sink, the rest is folded while the sink waits."""
_ROUNDS_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildParts:
    """The parts that a rebuild or a verification needs."""

    kafka: KafkaSettings
    topics: Topics
    limits: Limits
    postgres: PostgresSettings


async def rebuild(parts: RebuildParts) -> Swapped:
    """Replace the rows of all tasks whose log still exists by the fold of the log.

    1. The schema is brought up to date (it may have been dropped).
    2. A table set beside the projection is folded from the log, up to the sink's positions.
    3. The sink is held, the rest up to its positions is folded, and rows are swapped in, all
       in one transaction: readers see the old rows or the new ones.

    The sink's positions stay, so that it goes on and misses nothing. Only a position that the
    log does not hold is replaced: by the log's beginning if the position lies before it, otherwise
    by the end of the fold. ``missing`` names the offsets that the log no longer holds.
    The counts of metrics follow the positions (:class:`~sinks.counts.recount.Recount`).

    Raises:
        RebuildRunsError: another rebuild or verification runs.
        SinkUnavailableError, KafkaUnavailableError: nothing was changed; run it again.
    """
    await migrate_up(parts.postgres.dsn)
    async with open_table_set(parts.postgres) as tables, _fold(parts, tables) as fold:
        for _ in range(_ROUNDS_MAX):
            if await fold.advance(await fold.targets(await tables.sink_positions())) < _CLOSE:
                break
        async with tables.holding_the_sink() as sink:
            targets = await fold.targets(sink)
            await fold.advance(targets)
            replaced, recounts = _replaced(fold, sink, targets), _recounts(fold, sink, targets)
            swapped = await tables.swap(fold.first_offsets, replaced, recounts)
        missing = await _missing(parts, tables, gaps(sink, fold.starts), targets)
    log.info("projection_rebuilt", tasks=swapped.tasks, rows_written=swapped.changed)
    return replace(swapped, missing=missing)


async def verify(parts: RebuildParts) -> Comparison:
    """Compare the projection with the fold of the log, up to the sink's positions.

    The sink and its readers are not disturbed. Tasks that began before the log does, and
    partitions that the sink never wrote, are not compared. ``unwritten`` says how far the sink is
    behind, which is no difference. ``missing`` names the offsets that left the log before the
    sink wrote them.

    Raises:
        RebuildRunsError: another rebuild or verification runs.
        SinkUnavailableError, KafkaUnavailableError: run it again.
    """
    async with open_table_set(parts.postgres) as tables, _fold(parts, tables) as fold:
        await fold.advance(await _written(fold, await tables.sink_positions()))
        async with (
            long_session(parts.postgres, "verify") as stored,
            stored.transaction(isolation="repeatable_read", readonly=True),
        ):
            # The first statement fixes the snapshot that this session sees.
            sink = await read_positions(stored)
            await fold.advance(await _written(fold, sink))
            async with long_session(parts.postgres, "verify") as built, built.transaction():
                found = await compare(stored, built, fold.first_offsets, sink)
                await compare_counts(found, stored, built, fold.first_offsets)
        made = {
            partition: max(start.next_offset, sink[partition].next_offset)
            for partition, start in fold.starts.items()
            if partition in sink
        }
        found.missing = await _missing(parts, tables, gaps(sink, fold.starts), made)
        found.unwritten = await fold.unwritten(sink)
        return found


async def _missing(
    parts: RebuildParts, tables: TableSet, lost: tuple[TrimmedRange, ...], made: Mapping[int, int]
) -> Missing:
    """The gaps of the projection: offsets that left the log, and tasks without a row.

    Args:
        parts: the parts of the run.
        tables: open, and folded.
        lost: the offsets that left the log before the sink wrote them.
        made: for each partition, the offset of the log up to which rows exist.
    """
    client_id = f"{parts.kafka.client_id}-rebuild-state"
    async with LogReader(parts.kafka, client_id=client_id) as reader:
        remembered = await remembered_tasks(reader, parts.topics.task_state, made)
    ids = await tables.tasks_without_rows(remembered)
    return Missing(lost, len(ids), tuple(ids[:NAMED_MAX]))


async def _written(fold: LogFold, sink: Mapping[int, Position]) -> dict[int, int]:
    """The targets in partitions that the sink has written."""
    targets = await fold.targets(sink)
    return {partition: targets[partition] for partition in sink if partition in targets}


def _replaced(
    fold: LogFold, sink: Mapping[int, Position], targets: Mapping[int, int]
) -> dict[int, Position]:
    """The sink's positions that the log does not hold, with their replacements."""
    replaced = {}
    for partition, folded in fold.positions.items():
        position, start = sink.get(partition), fold.starts[partition]
        if position is None:
            replaced[partition] = folded
        elif not holds(start, position, targets[partition]):
            # Cut off: the rest of older tasks in the log was never written. Read it again.
            behind = position.next_offset < start.next_offset
            replaced[partition] = start if behind else folded
    return replaced


def _recounts(
    fold: LogFold, sink: Mapping[int, Position], targets: Mapping[int, int]
) -> dict[int, Recount]:
    """What becomes of the counts, by the same cases as :func:`_replaced`."""
    recounts = {}
    for partition, start in fold.starts.items():
        position = sink.get(partition)
        if position is None:
            recounts[partition] = Recount.REPLACE
        elif holds(start, position, targets[partition]):
            whole = start.next_offset == 0
            recounts[partition] = Recount.REPAIR if whole else Recount.KEEP
        else:
            behind = position.next_offset < start.next_offset
            recounts[partition] = Recount.KEEP if behind else Recount.ADD
    return recounts


@asynccontextmanager
async def _fold(parts: RebuildParts, tables: TableSet) -> AsyncIterator[LogFold]:
    client_id = f"{parts.kafka.client_id}-rebuild"
    async with LogReader(parts.kafka, client_id=client_id, committed=False) as reader:
        fold = LogFold(reader, parts.topics.task_events, tables.writer, parts.limits)
        await fold.open()
        yield fold
