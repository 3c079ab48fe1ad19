"""Read the index of dead letters. The topics are the truth; this is quicker."""

from sinks.letters.rows import stored_letter, stored_state
from sinks.pool import connection, open_pool
from sinks.queries import query
from sinks.settings import PostgresSettings
from tasks.letters.known import KnownLetters
from tasks.letters.ledger import Ledger


async def read_index(settings: PostgresSettings) -> KnownLetters:
    """All indexed letters, without their keys, values and headers.

    Raises:
        SinkUnavailableError: read the topics instead.
    """
    pool = await open_pool(settings)
    try:
        async with connection(pool, settings) as conn:
            rows = await conn.fetch(query("read_letters"))
    finally:
        pool.terminate()
    ledger = Ledger()
    ledger.states = {row["id"]: stored_state(row) for row in rows}
    return KnownLetters([stored_letter(row) for row in rows], ledger)
