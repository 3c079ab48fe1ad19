"""Sends rows to Postgres: a batch by one call (``batch.sql``), or rows of one type."""

from collections.abc import Sequence

import msgspec

from sinks.columns import PositionRow
from sinks.counts.row import CountRow
from sinks.database import Database
from sinks.errors import SinkRowError
from sinks.pool import FIND_BY_KEY, Connection
from sinks.queries import SCHEMA, query
from sinks.row_sql import rows_text
from sinks.rows import Batch
from sinks.settings import PostgresSettings

POSITION_ELSEWHERE = "OR001"
"""The SQLSTATE if a position is not where :class:`PositionRow` expects it; nothing was written."""


def database_of_batches(settings: PostgresSettings, schema: str = SCHEMA) -> Database:
    """A database in whose sessions :func:`write_batch` may be called, for tables of ``schema``."""
    return Database(settings, planning=FIND_BY_KEY, functions=query("create_write_batch", schema))


async def write_batch(
    conn: Connection,
    batch: Batch,
    *,
    counts: Sequence[CountRow] = (),
    positions: Sequence[PositionRow] = (),
) -> None:
    """Write rows, add counts and move positions, all or nothing.

    Outside of a transaction of the caller it is one of its own: if no answer comes, either all was
    written or nothing.

    Args:
        conn: of :func:`database_of_batches`.
        batch: the rows.
        counts: what they add to the counts.
        positions: by partition, so that every writer of several locks them in the same order.
    """
    await conn.execute(
        query("write_batch"),
        _text([row for row in positions if row.expected_offset is None]),
        _text([row for row in positions if row.expected_offset is not None]),
        _text(counts),
        _text(batch.begun),
        _text(batch.steps),
        _text(batch.changed),
        _text(batch.refused),
        _text(batch.logs),
    )


async def send(conn: Connection, name: str, rows: Sequence[msgspec.Struct]) -> None:
    """Send rows to a query that takes those of one type."""
    if rows:
        await conn.execute(query(name, SCHEMA), _text(rows))


def _text(rows: Sequence[msgspec.Struct]) -> str | None:
    try:
        return rows_text(rows)
    except ValueError as error:
        # The encoder's message quotes the value: left out.
        raise SinkRowError("a value does not fit the type of its column") from error
