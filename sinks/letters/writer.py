"""Writes the index of dead letters.

Delivery: exactly-once. Rows and positions are one transaction, and a position moves only from
where the caller last saw it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.dead_letter_record import DeadLetter
from schemas.findings import Finding
from schemas.records import DeadLetterAction
from sinks.database import Database
from sinks.errors import SinkPositionError, SinkRowError
from sinks.letters.isolation import write_letters_apart, write_states_apart
from sinks.letters.rows import StateRow, index_key, letter_row, state_row, stored_state
from sinks.pool import Connection
from sinks.probe import check_letters_are_accepted
from sinks.queries import query
from sinks.settings import PostgresSettings
from sinks.statements import send
from tasks.letters.ledger import LetterState, after


@dataclass(frozen=True, slots=True)
class Moved:
    """A topic's partition was read from one offset to another one."""

    topic: str
    partition: int
    expected: int | None
    """The stored offset; None if nothing was stored."""
    next_offset: int


@dataclass(frozen=True, slots=True)
class GoneOn:
    """A letter whose task went on without a replay of the letter."""

    letter_id: str
    run: int
    status: str


@dataclass(frozen=True, slots=True)
class SentRecord:
    """A replayed record, and the consumer group that has to read it."""

    letter_id: str
    group: str
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class OpenLetterCount:
    """The letters of one topic on which nobody has acted."""

    topic: str
    count: int
    oldest_s: float
    """Age of the oldest one."""


class DeadLetterWriter:
    """The index's only writer. Every method may raise ``SinkUnavailableError``: try again."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._database = Database(settings)

    async def open(self) -> None:
        """Connect, and check that the schema exists (``MigrationError``)."""
        await self._database.open()

    async def check_server(self) -> list[Finding]:
        """Compare the server, the database and our account with what the index needs.

        Raises:
            SinkUnavailableError: the server did not answer.
        """
        return await self._database.check_server()

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()

    async def positions(self, topics: Sequence[str], partition: int) -> dict[str, int]:
        """Up to which offset each of these topics was read in a partition, if at all."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(query("read_index_positions"), list(topics), partition)
        return {row["topic"]: row["next_offset"] for row in rows}

    async def topics(self) -> set[str]:
        """Every topic that was read into this index, also those of another system."""
        async with self._database.connection() as conn:
            return {row["topic"] for row in await conn.fetch(query("all_index_positions"))}

    async def write(
        self,
        letters: Sequence[DeadLetter],
        actions: Sequence[tuple[int, DeadLetterAction]],
        moved: Sequence[Moved],
    ) -> None:
        """Write letters and actions (with their offsets, in order), and move the positions.

        A row that Postgres refuses does not keep other rows from being written: a refused letter is
        listed with its position only, a refused action is left out. Before that, known good
        rows are tried.

        Raises:
            SinkUnavailableError: nothing or everything was written; open again before going on.
            SinkBlockedError: Postgres refuses every row; as above, after an operator has acted.
            SinkPositionError: another process moved a position, or the index was emptied. Nothing
                was written: begin again from :meth:`positions`.
        """
        unique = {letter.id: letter for letter in reversed(letters)}
        rows = [letter_row(letter) for letter in unique.values()]
        try:
            async with self._database.connection() as conn, conn.transaction():
                await _move_all(conn, moved)
                await send(conn, "upsert_letters", rows)
                await send(conn, "upsert_states", await _state_rows(conn, actions))
        except SinkRowError:
            async with self._database.connection() as conn, conn.transaction():
                await check_letters_are_accepted(conn)
                await _move_all(conn, moved)
                await write_letters_apart(conn, rows)
                await write_states_apart(conn, await _state_rows(conn, actions))

    async def gone_on(self, created_topic: str, at_most: int) -> list[GoneOn]:
        """Unsettled letters whose task went on without a replay."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(query("find_gone_on"), created_topic, at_most)
        return [GoneOn(row["id"], row["run"], row["status"]) for row in rows]

    async def sent(self, at_most: int) -> list[SentRecord]:
        """Replayed records whose outcome is not known."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(query("find_sent"), at_most)
        return [SentRecord(*row.values()) for row in rows]

    async def still_open(self) -> list[OpenLetterCount]:
        """The letters on which nobody has acted, counted by topic."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(query("count_open"))
        return [OpenLetterCount(*row.values()) for row in rows]

    async def successors(self, letter_ids: Sequence[str]) -> Mapping[str, str]:
        """The letters among these that failed again, each with the letter that it became."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(query("find_successors"), list(letter_ids))
        return {row["replay_of"]: row["id"] for row in rows}

    async def empty(self) -> None:
        """Delete everything. The index agent detects this, and fills the index again."""
        async with self._database.connection() as conn:
            await conn.execute(query("empty_index"))


async def _move_all(conn: Connection, moved: Sequence[Moved]) -> None:
    for move in moved:
        await _move(conn, move)


async def _move(conn: Connection, move: Moved) -> None:
    to = (move.topic, move.partition, move.next_offset)
    if move.expected is None:
        done = await conn.fetchval(query("begin_index_position"), *to)
    else:
        done = await conn.fetchval(query("move_index_position"), *to, move.expected)
    if done is None:
        raise SinkPositionError(f"{move.topic}[{move.partition}] is not at {move.expected}")


async def _state_rows(
    conn: Connection, actions: Sequence[tuple[int, DeadLetterAction]]
) -> list[StateRow]:
    """Apply actions to the stored states, by the rule of the ledger."""
    ids = sorted({index_key(item.letter_id) for _, action in actions for item in action.items})
    if not ids:
        return []
    stored = await conn.fetch(query("read_states"), ids)
    states = {row["id"]: (stored_state(row), row["action_offset"]) for row in stored}
    changed: dict[str, tuple[LetterState, int]] = {}
    for offset, action in actions:
        for item in action.items:
            letter_id = index_key(item.letter_id)
            state, last = states.get(letter_id, (LetterState(), -1))
            if offset >= last:  # an action may name a letter twice
                states[letter_id] = changed[letter_id] = (after(state, action, item), offset)
    return [state_row(letter_id, state, last) for letter_id, (state, last) in changed.items()]
