"""Writes the rows of a task again, from all of its events.

Used by the replay of a dead letter of the sink: the refused event lies before others that were
accepted, so the task's rows are made anew as if no event had been refused.
"""

from collections.abc import AsyncIterator, Container, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date

from schemas.records import Millis, TaskId
from sinks.counts import store
from sinks.counts.naming import Naming
from sinks.counts.row import CountRow
from sinks.counts.tally import tally
from sinks.errors import SinkRowError
from sinks.pool import Connection
from sinks.probe import check_tasks_are_accepted
from sinks.queries import SCHEMA, query
from sinks.rows import LogEvent, project
from sinks.schema.month import month_of
from sinks.schema.partitions import ensure_months
from sinks.settings import PostgresSettings
from sinks.statements import database_of_batches, write_batch


@dataclass(frozen=True, slots=True)
class LockedPartition:
    """A partition of the projection whose position the sink cannot move for now."""

    partition: int
    next_offset: int
    """The first offset of ``task-events`` that the sink has not written."""
    conn: Connection
    naming: Naming

    async def rewrite(self, task_ids: Sequence[TaskId], events: Sequence[LogEvent]) -> None:
        """Replace the rows of these tasks by those that their events make.

        An event that the trail did not hold was refused before, and is counted now.

        Args:
            task_ids: of this partition.
            events: all accepted events of these tasks before ``next_offset``, in order.

        Raises:
            SinkRowError: a row is refused; nothing was changed. Pass each task alone.
        """
        try:
            batch = project(events)
        except ValueError as error:
            raise SinkRowError(str(error)) from error
        made = set(await ensure_months(self.conn, batch.months))
        counts = await self._count(events, made)
        await self.conn.execute(query("delete_tasks"), list(task_ids))
        await write_batch(self.conn, batch, counts=counts)

    async def _count(self, events: Sequence[LogEvent], made: Container[date]) -> list[CountRow]:
        """Count the events that the trail does not hold.

        A month that had to be made was dropped by retention: its events were counted.
        """
        offsets = [logged.offset for logged in events]
        trail = await self.conn.fetch(query("written_events"), self.partition, offsets)
        written = {row["event_offset"] for row in trail}
        written |= {each.offset for each in events if month_of(each.event.occurred_at) in made}
        return tally(events, {}, self.naming, without=written)


class Rewriter:
    """Rewrites tasks beside the running sink, under the lock that the sink's writes take."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._database = database_of_batches(settings)

    async def open(self) -> None:
        """Connect; on SinkUnavailableError try again later."""
        await self._database.open(migrated=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()

    async def check_others_are_accepted(self, at: Millis) -> None:
        """Check, after one task alone was refused, whether the tables accept rows of that time.

        Raises:
            SinkBlockedError: they refuse known good rows, so the task is not at fault.
            SinkUnavailableError: the answer is unknown; try again later.
        """
        async with self._database.connection() as conn:
            await check_tasks_are_accepted(conn, at, schema=SCHEMA)

    @asynccontextmanager
    async def locked(self, partition: int) -> AsyncIterator[LockedPartition]:
        """Open a transaction in which the sink waits for us, at most ``operation_timeout_s``.

        Raises:
            SinkUnavailableError: nothing was changed; try again later.
        """
        async with self._database.connection() as conn, conn.transaction():
            row = await conn.fetchrow(query("lock_position"), partition)
            naming = Naming()
            await store.read_names(conn, naming)
            next_offset = row["next_offset"] if row else 0
            yield LockedPartition(partition, next_offset, conn, naming)
