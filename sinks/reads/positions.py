"""How far the tables were written, of every log: for commands that compare it with the logs."""

from __future__ import annotations

from dataclasses import dataclass

from sinks.database import Database
from sinks.queries import query
from sinks.settings import PostgresSettings
from sinks.writer import Position


@dataclass(frozen=True, slots=True)
class StoredPositions:
    """The positions that a database holds, whichever system wrote them."""

    sink: dict[int, Position]
    """By partition of ``task-events``."""
    index: dict[tuple[str, int], int]
    """The next offset of each dead-letter topic, and of the ledger, by topic and partition."""


async def read_all_positions(settings: PostgresSettings, *, reads: bool) -> StoredPositions:
    """The positions of the sink and of the dead-letter index.

    Args:
        settings: the database.
        reads: of the database that readers see (``ORCH_POSTGRES_READER_DSN``), not of the one that
            is written.

    Raises:
        SinkUnavailableError: try again later.
        MigrationError: the tables are not there yet.
    """
    database = Database(settings, reads=reads)
    await database.open()
    try:
        async with database.connection() as conn:
            sink = await conn.fetch(query("all_sink_positions"))
            index = await conn.fetch(query("all_index_positions"))
    finally:
        await database.close()
    return StoredPositions(
        sink={
            row["log_partition"]: Position(row["next_offset"], row["epoch"], row["owner"])
            for row in sink
        },
        index={(row["topic"], row["log_partition"]): row["next_offset"] for row in index},
    )
