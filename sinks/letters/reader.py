"""Reads the index of dead letters. The topics are the source of truth; the index is faster."""

from sinks.database import Database
from sinks.letters.rows import stored_letter, stored_state
from sinks.queries import query
from sinks.settings import PostgresSettings
from tasks.letters.known import KnownLetters
from tasks.letters.ledger import Ledger


async def read_index(settings: PostgresSettings) -> KnownLetters:
    """All indexed letters, without their keys, values and headers.

    Raises:
        SinkUnavailableError: read the topics instead.
    """
    database = Database(settings, reads=True)
    await database.open(migrated=False)
    try:
        async with database.connection() as conn:
            rows = await conn.fetch(query("read_letters"))
    finally:
        await database.close()
    ledger = Ledger()
    ledger.states = {row["id"]: stored_state(row) for row in rows}
    return KnownLetters([stored_letter(row) for row in rows], ledger)
