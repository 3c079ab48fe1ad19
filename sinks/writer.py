"""Writes accepted events of ``task-events`` into Postgres.

Delivery: exactly-once. Rows and position are one transaction, the position moves only from
where the caller last saw it, and a row changes only for a later event than its last one.

Batches of different partitions that wait at the same time share a transaction
(:mod:`sinks.group_commit`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import asyncpg
import structlog

from schemas.findings import Finding
from schemas.records import Millis
from sinks.columns import PositionRow
from sinks.counts import store
from sinks.counts.naming import Naming
from sinks.counts.row import CountRow
from sinks.errors import SchemaMissingError, SinkPositionError, SinkRowError
from sinks.group_commit import GroupCommit
from sinks.pool import Connection
from sinks.probe import blocked, check_tasks_are_accepted
from sinks.queries import SCHEMA, query
from sinks.rows import Batch, LogEvent, joined, project
from sinks.schema.migrate import check_migrated
from sinks.schema.partitions import ensure_months, months_ahead
from sinks.settings import PostgresSettings
from sinks.statements import POSITION_ELSEWHERE, database_of_batches, write_batch

_log = structlog.get_logger()

EVENTS_MAX = 2_000
"""Events of a batch, and of a transaction that batches share. So a ``statement_timeout_ms`` that
is enough for one is enough for the other. The further the sink is behind, the more events of one
task are in a batch, where they become one change of its row."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a partition of ``task-events`` was written."""

    next_offset: int
    """The first offset that is not written."""
    epoch: int
    """The ownership accepted at that offset: an event there is accepted only if it carries it."""
    owner: str


@dataclass(frozen=True, slots=True)
class _Write:
    """One call of :meth:`Writer.write`."""

    partition: int
    expected: Position | None
    batch: Batch
    counted: Sequence[LogEvent]
    """The events that were not written before."""
    after: Position


class Writer:
    """The projection's only writer. One instance may write several partitions at a time.

    ``schema`` may name a table set other than the projection, see :mod:`sinks.table_set`.
    """

    def __init__(self, settings: PostgresSettings, *, schema: str = SCHEMA) -> None:
        self._database = database_of_batches(settings, schema)
        self._schema = schema
        self._group = GroupCommit[_Write](self._write_together, size_max=EVENTS_MAX)
        # Months that have partitions. Forgotten at every failure: after a restore from a backup,
        # an existing month may be gone.
        self._months: set[date] = set()
        # The position that a COMMIT without an answer would have stored, by partition.
        self._in_doubt: dict[int, Position] = {}
        self._naming = Naming()

    async def open(self) -> None:
        """Connect, and check that the schema exists.

        Raises:
            SinkUnavailableError: try again later.
            MigrationError: a migration that this program needs was not applied.
        """
        await self._database.open()
        try:
            # Before the first count: otherwise any tenant would be counted by name.
            await self.rank_tenants()
        except BaseException:
            await self._database.close()
            raise

    async def check_server(self) -> list[Finding]:
        """Compare the server, the database and our account with what the projection needs.

        Raises:
            SinkUnavailableError: the server did not answer.
        """
        return await self._database.check_server()

    async def close(self) -> None:
        """Close the connections; a running write ends within ``operation_timeout_s``."""
        await self._database.close()
        await self._group.ended()

    async def positions(self, partitions: Iterable[int]) -> dict[int, Position]:
        """The stored positions of these partitions; a partition without a position is left out.

        Raises:
            SinkUnavailableError: try again later.
        """
        wanted = list(partitions)
        async with self._database.connection() as conn:
            rows = await conn.fetch(query("read_positions", self._schema), wanted)
            if len(rows) < len(wanted) and not await conn.fetchval(
                query("positions_are_keyed", self._schema)
            ):
                # Without this the log would be read from its beginning, and in vain.
                raise SchemaMissingError("sink_offsets has no key yet: a restore fills it")
        return {
            row["log_partition"]: Position(row["next_offset"], row["epoch"], row["owner"])
            for row in rows
        }

    async def write(
        self,
        partition: int,
        expected: Position | None,
        events: Sequence[LogEvent],
        after: Position,
    ) -> None:
        """Write events of one partition and move its position, all or nothing.

        1. The batch waits for the running transaction, together with batches of other partitions.
        2. The missing month partitions are created, in a transaction of their own.
        3. The new events are counted (:mod:`sinks.counts`).
        4. One call, which is one transaction: the positions move, counts are added, attempts,
           tasks and trail are written.
        5. If that fails for a reason that one batch may have caused, each is written by itself.
        6. If one event alone is refused, known good rows are tried and rolled back: if these are
           refused as well, the tables are at fault, not the event.

        Args:
            partition: of ``task-events``.
            expected: the position that this writer last read or wrote; None if there was no
                position.
            events: accepted events in the log's order; may be empty. Events that were
                written before change nothing.
            after: the new position.

        Raises:
            SinkUnavailableError: write the same batch again later.
            SinkBlockedError: Postgres refuses every row; as above, after an operator has acted.
            SinkRowError: the batch holds a row that Postgres refuses; nothing was written. If the
                batch is one event: Postgres accepts known good rows and refuses this one.
            SinkPositionError: the position is elsewhere; nothing was written. Stop.

        Cancellation: either nothing was written, or everything; read ``positions`` before going on.
        If other partitions share the transaction, it is waited for.
        """
        batch = self._projected(partition, events)
        try:
            await self._group.write(
                _Write(partition, expected, batch, _after(expected, events), after),
                size=len(events),
            )
        except SinkRowError as refusal:
            if not events:
                raise blocked(refusal) from refusal
            if len(events) == 1:
                await self._check_others_are_accepted(events[0].event.occurred_at)
            raise

    async def counts(self, partitions: Iterable[int]) -> list[CountRow]:
        """What was counted in these partitions.

        Raises:
            SinkUnavailableError: try again later.
        """
        async with self._database.connection() as conn:
            return await store.read(conn, partitions)

    async def rank_tenants(self) -> None:
        """Read which tenants are the largest; from then on these are counted by name.

        Raises:
            SinkUnavailableError: try again later; the names stay as they are.
        """
        async with self._database.connection() as conn:
            await store.read_names(conn, self._naming, schema=self._schema)

    async def make_months_ahead(self) -> None:
        """Create the missing partitions of the current month and the next ones.

        Raises:
            SinkUnavailableError: try again later; a batch makes the months that it needs anyway.
        """
        async with self._database.connection() as conn:
            await self._check_schema(conn)
            made = await ensure_months(conn, await months_ahead(conn))
        if made:
            _log.info("sink_months_made", months=[month.isoformat()[:7] for month in made])

    async def _check_others_are_accepted(self, at: Millis) -> None:
        async with self._database.connection() as conn:
            await check_tasks_are_accepted(conn, at, schema=self._schema)

    def _projected(self, partition: int, events: Sequence[LogEvent]) -> Batch:
        offsets = [event.offset for event in events]
        if any(event.partition != partition for event in events):
            raise ValueError(f"an event is not of partition {partition}")
        if any(left >= right for left, right in pairwise(offsets)):
            raise ValueError("the events are not in the log's order")
        try:
            return project(events)
        except ValueError as error:
            raise SinkRowError(str(error)) from error

    async def _write_together(self, writes: Sequence[_Write]) -> None:
        batch = joined([write.batch for write in writes])
        try:
            async with self._database.connection() as conn:
                await self._ensure_months(conn, batch.months)
                await self._commit(conn, writes, batch)
        except BaseException:
            self._months.clear()
            raise
        for write in writes:
            self._in_doubt.pop(write.partition, None)

    async def _ensure_months(self, conn: Connection, months: frozenset[date]) -> None:
        missing = months - self._months
        if not missing:
            return
        await self._check_schema(conn)
        made = await ensure_months(conn, missing, schema=self._schema)
        if made:
            _log.info("sink_months_made", months=[month.isoformat()[:7] for month in made])
        self._months |= missing

    async def _check_schema(self, conn: Connection) -> None:
        """Before a table is made: beside a restore that has not made its own yet, ours would be
        in its way.

        Raises:
            SchemaMissingError: a restore runs; try again later.
            MigrationError: the restored schema is of another version.
        """
        if self._schema == SCHEMA:
            await check_migrated(conn)

    async def _commit(self, conn: Connection, writes: Sequence[_Write], batch: Batch) -> None:
        counted = [event for write in writes for event in write.counted]
        # Before the batch, so also before its lock: only a batch of the same partition could
        # change what is read here, and it would move the position.
        counts = await store.counts_of(conn, counted, self._naming, schema=self._schema)
        try:
            await write_batch(conn, batch, counts=counts, positions=_rows_of(writes))
        except BaseException as error:
            if isinstance(error, asyncpg.PostgresError) and error.sqlstate == POSITION_ELSEWHERE:
                await self._settle(conn, writes)
                return
            # The call may have gone through, also if it ended with an error of the server.
            self._in_doubt.update({write.partition: write.after for write in writes})
            raise

    async def _settle(self, conn: Connection, writes: Sequence[_Write]) -> None:
        """Settle a position that did not move: this is fine if our own COMMIT had succeeded.

        Only a single batch may conclude so: of several, others did move, and are rolled back now.
        """
        if len(writes) > 1:
            raise SinkPositionError("the position of a partition is elsewhere")
        (write,) = writes
        rows = await conn.fetch(query("read_positions", self._schema), [write.partition])
        found = [Position(row["next_offset"], row["epoch"], row["owner"]) for row in rows]
        if found and self._in_doubt.get(write.partition) == write.after == found[0]:
            return
        where = f"at {found[0].next_offset}" if found else "missing"
        raise SinkPositionError(f"the position of partition {write.partition} is {where}")


def _rows_of(writes: Sequence[_Write]) -> list[PositionRow]:
    # By partition: every writer that moves several locks them in the same order.
    return [
        PositionRow(
            log_partition=write.partition,
            next_offset=write.after.next_offset,
            epoch=write.after.epoch,
            owner=write.after.owner,
            expected_offset=None if write.expected is None else write.expected.next_offset,
        )
        for write in sorted(writes, key=lambda write: write.partition)
    ]


def _after(expected: Position | None, events: Sequence[LogEvent]) -> Sequence[LogEvent]:
    """The events over which the position moves: each event counts once, when it does."""
    if expected is None:
        return events
    return [event for event in events if event.offset >= expected.next_offset]
