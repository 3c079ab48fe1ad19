"""The index of dead letters: rows of letters and of what was done with them."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from schemas.buried import DeadLetter
from schemas.records import DeadLetterAction, DeadLetterActionKind, DeadLetterItem, Millis
from sinks.dead_letter_rows import EntryRow, LetterRow
from sinks.dead_letter_writer import DeadLetterWriter, Moved
from sinks.errors import SinkPositionError
from sinks.queries import query
from sinks.settings import PostgresSettings
from tests.letters.building import a_letter

TOPIC = "dlq.t"


@pytest.fixture
async def index(database: str) -> AsyncIterator[DeadLetterWriter]:
    opened = DeadLetterWriter(PostgresSettings(dsn=database))
    await opened.open()
    yield opened
    await opened.close()


def an_action(kind: DeadLetterActionKind, letter: DeadLetter, count: int = 0) -> DeadLetterAction:
    item = DeadLetterItem(letter_id=letter.id, count=count, topic="t", partition=1, offset=5)
    return DeadLetterAction(
        action_id="a", kind=kind, replay_id="r", actor="ada", items=[item], at=Millis(5_000)
    )


async def rows(database: str) -> list[asyncpg.Record]:
    conn = await asyncpg.connect(database)
    try:
        return await conn.fetch("SELECT * FROM ai_orchestrator.dead_letters ORDER BY id")
    finally:
        await conn.close()


async def test_a_letter_and_what_was_done_with_it_meet_in_one_row_in_either_order(
    index: DeadLetterWriter, database: str
) -> None:
    first, second = a_letter(id="1"), a_letter(id="2")
    replayed = an_action(DeadLetterActionKind.REPLAYED, first, count=2)
    discarded = an_action(DeadLetterActionKind.DISCARDED, second)
    await index.write([first], [(7, replayed), (8, discarded)], [Moved(TOPIC, 0, None, 1)])
    await index.write([second], [], [Moved(TOPIC, 0, 1, 2)])

    found = [(row["topic"], row["status"], row["replays"]) for row in await rows(database)]
    assert found == [("t", "replaying", 2), ("t", "discarded", 0)]


async def test_a_second_copy_of_a_letter_changes_nothing(
    index: DeadLetterWriter, database: str
) -> None:
    letter = a_letter(id="1")
    await index.write([letter, replace(letter, dlq_offset=9)], [], [Moved(TOPIC, 0, None, 2)])
    await index.write([replace(letter, dlq_offset=11)], [], [Moved(TOPIC, 0, 2, 3)])

    assert [row["dlq_offset"] for row in await rows(database)] == [letter.dlq_offset]


async def test_a_position_that_somebody_else_moved_writes_nothing(
    index: DeadLetterWriter, database: str
) -> None:
    await index.write([], [], [Moved(TOPIC, 0, None, 4)])

    with pytest.raises(SinkPositionError):
        await index.write([a_letter(id="1")], [], [Moved(TOPIC, 0, 3, 5)])
    assert await rows(database) == []


async def test_an_emptied_index_has_no_positions(index: DeadLetterWriter) -> None:
    await index.write([a_letter(id="1")], [], [Moved(TOPIC, 0, None, 4)])
    await index.empty()

    assert await index.positions([TOPIC], 0) == {}


async def test_a_replayed_record_is_looked_for_until_its_letter_is_closed(
    index: DeadLetterWriter,
) -> None:
    letter = a_letter(id="1", group="g")
    replayed = an_action(DeadLetterActionKind.REPLAYED, letter, count=1)
    await index.write([letter], [(0, replayed)], [Moved(TOPIC, 0, None, 1)])
    before = await index.sent(10)
    resolved = an_action(DeadLetterActionKind.RESOLVED, letter)
    await index.write([], [(1, resolved)], [])

    assert [(sent.letter_id, sent.group, sent.offset) for sent in before] == [("1", "g", 5)]
    assert await index.sent(10) == []


@pytest.mark.parametrize(
    ("name", "row"), [("upsert_letters", LetterRow), ("upsert_entries", EntryRow)]
)
def test_an_index_query_takes_its_rows_columns_in_their_order(name: str, row: type) -> None:
    columns = re.search(r"\) AS p \(([^)]*)\)", query(name))

    assert columns is not None
    assert columns[1].replace(",", " ").split() == list(row._fields)  # type: ignore[attr-defined]
