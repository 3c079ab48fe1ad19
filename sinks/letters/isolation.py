"""Writes the rows of the dead-letter index one by one, so that a bad row stops no other row."""

from collections.abc import Sequence

import structlog

from sinks.errors import SinkRowError, ours
from sinks.letters.rows import LetterRow, StateRow, stub_row
from sinks.pool import Connection
from sinks.statements import send

_log = structlog.get_logger()


async def write_letters_apart(conn: Connection, rows: Sequence[LetterRow]) -> None:
    """Write letters within the caller's transaction; for a refused letter, write a stub.

    Any other error of the driver is passed on; roll the transaction back then.
    """
    for row in rows:
        refusal = await _refusal(conn, "upsert_letters", row)
        if refusal is None:
            continue
        _log.warning(
            "letter_row_refused",
            topic=row.topic,
            partition=row.dlq_partition,
            offset=row.dlq_offset,
            reason=str(refusal),
        )
        if await _refusal(conn, "upsert_letters", stub_row(row)) is not None:
            _log.error("letter_not_listed", topic=row.topic, offset=row.dlq_offset)


async def write_states_apart(conn: Connection, rows: Sequence[StateRow]) -> None:
    """Write the states of letters; a refused state is left out, and stays in the ledger."""
    for row in rows:
        refusal = await _refusal(conn, "upsert_states", row)
        if refusal is not None:
            _log.warning("state_row_refused", action_offset=row.action_offset, reason=str(refusal))


async def _refusal(conn: Connection, name: str, row: LetterRow | StateRow) -> SinkRowError | None:
    try:
        async with conn.transaction():
            await send(conn, name, [row])
    except SinkRowError as refusal:
        return refusal
    except Exception as error:
        found = ours(error)
        if isinstance(found, SinkRowError):
            return found
        raise
    return None
