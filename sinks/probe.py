"""Checks whether the tables accept rows at all, after a row was refused.

The rule by which a refusal becomes a dead letter: a row that is refused while other rows are
accepted is a bad row. The other rows are known good ones (:mod:`sinks.known_good`), or new rows
with the names of stored tasks. If all of these are refused as well, the tables were changed, the
row is not at fault, and the writer waits.
"""

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from schemas.records import Millis
from sinks.columns import PositionRow
from sinks.errors import SinkBlockedError, SinkRowError, ours
from sinks.known_good import (
    PARTITION,
    Names,
    known_good_batches,
    known_good_counts,
    known_good_letters,
    known_good_states,
)
from sinks.pool import Connection
from sinks.queries import query
from sinks.schema.month import month_of
from sinks.schema.partitions import ensure_months
from sinks.statements import send, write_batch

_STORED_MAX = 5
"""Stored tasks whose names are tried, of different tenants or types."""


async def check_tasks_are_accepted(conn: Connection, at: Millis, *, schema: str) -> None:
    """Write good task rows of that time with the sink's own statements; roll them back.

    Raises:
        SinkBlockedError: the tables refuse them.
        SinkUnavailableError: Postgres did not answer: the result is unknown.
    """
    try:
        month_of(at)
    except ValueError:
        return  # no calendar has this time: the refused row is bad whatever the tables are
    await ensure_months(conn, [month_of(at)], schema=schema)
    try:
        await _check_names(conn, at, Names(), schema)
    except SinkBlockedError:
        stored = await conn.fetch(query("read_stored_names", schema), _STORED_MAX)
        for row in stored:
            try:
                await _check_names(conn, at, Names(**row), schema)
            except SinkBlockedError:
                continue
            return
        raise


async def _check_names(conn: Connection, at: Millis, names: Names, schema: str) -> None:
    begun, later = known_good_batches(at, names)

    async def write() -> None:
        begin = PositionRow(log_partition=PARTITION, next_offset=0, epoch=0, owner="")
        move = replace(begin, expected_offset=0)
        counts = known_good_counts(names)
        await write_batch(conn, begun, counts=counts, positions=[begin])
        await write_batch(conn, later, positions=[move])

    await _check(conn, write)


async def check_letters_are_accepted(conn: Connection) -> None:
    """The same check for the index of dead letters; may be called within a transaction.

    Raises:
        SinkBlockedError: the tables refuse them.
        SinkUnavailableError: Postgres did not answer: the result is unknown.
    """
    letters = known_good_letters()

    async def write() -> None:
        await send(conn, "upsert_letters", letters)
        await send(conn, "upsert_states", known_good_states(letters))
        where = ("known-good", PARTITION, 0)
        await conn.fetch(query("begin_index_position"), *where)
        await conn.fetch(query("move_index_position"), *where, 0)

    await _check(conn, write)


async def _check(conn: Connection, write: Callable[[], Awaitable[None]]) -> None:
    transaction = conn.transaction()
    await transaction.start()
    try:
        await write()
    except Exception as error:
        found = ours(error)
        if isinstance(found, SinkRowError):
            await transaction.rollback()
            raise blocked(found) from error
        raise
    await transaction.rollback()


def blocked(refusal: SinkRowError) -> SinkBlockedError:
    """The error for a refusal that no row is at fault for."""
    return SinkBlockedError(
        f"{refusal} (every row would be refused: undo what was changed on this table)"
    )
