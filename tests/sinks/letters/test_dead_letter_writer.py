"""The index of dead letters: rows of letters and of what was done with them."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import msgspec
import pytest

from schemas.dead_letter import Origin
from schemas.dead_letter_record import DeadLetter, read_dead_letter
from schemas.records import DeadLetterAction, DeadLetterActionKind, DeadLetterItem, Millis
from schemas.topics import Topics
from sinks.errors import SinkBlockedError, SinkPositionError
from sinks.letters.writer import DeadLetterWriter, Moved
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


HUGE = secrets.token_hex(4_000)


async def execute(database: str, statement: str) -> None:
    conn = await asyncpg.connect(database)
    try:
        await conn.execute(statement)
    finally:
        await conn.close()


@pytest.mark.parametrize("header", ["__dlq.tenant", "__dlq.task.id", "__dlq.id"])
async def test_a_letter_with_8000_characters_where_an_id_is_usual_is_listed(
    index: DeadLetterWriter, database: str, header: str
) -> None:
    record = Origin(
        topic="dlq.orchestrator.task-created.v1",
        partition=0,
        offset=1,
        timestamp_ms=5,
        key=None,
        value=b"",
        headers=(("__dlq.id", b"1"), (header, HUGE.encode())),
    )
    letters = [read_dead_letter(record, Topics()), a_letter(id="2")]
    await index.write(letters, [], [Moved(TOPIC, 0, None, 2)])

    assert sorted(row["id"] for row in await rows(database)) == sorted(x.id for x in letters)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"tenant_id": HUGE}, id="an index row that is too large"),
        pytest.param({"message": "a\ud800"}, id="a lone surrogate"),
        pytest.param({"code": "a\0"}, id="NUL"),
        pytest.param({"original_at": 2**62}, id="a time beyond the calendar"),
        pytest.param({"run": 2**40}, id="a number beyond its column"),
    ],
)
async def test_a_letter_that_the_index_cannot_hold_is_listed_by_its_place_beside_the_others(
    index: DeadLetterWriter, database: str, broken: dict[str, Any]
) -> None:
    bad = replace(a_letter(id="2", dlq_offset=7), **broken)
    await index.write([a_letter(id="1"), bad, a_letter(id="3")], [], [Moved(TOPIC, 0, None, 3)])

    found = [(row["id"], row["code"], row["dlq_offset"]) for row in await rows(database)]
    assert found == [
        ("1", "TASK_TYPE_UNKNOWN", 3),
        ("2", "ROW_REFUSED", 7),
        ("3", "TASK_TYPE_UNKNOWN", 3),
    ]
    assert await index.positions([TOPIC], 0) == {TOPIC: 3}


async def test_an_action_that_the_index_cannot_hold_keeps_no_other_one_from_being_written(
    index: DeadLetterWriter, database: str
) -> None:
    letter = a_letter(id="1")
    huge = an_action(DeadLetterActionKind.DISCARDED, replace(letter, id=HUGE))
    late = msgspec.structs.replace(an_action(DeadLetterActionKind.PARKED, letter), at=Millis(2**62))
    nul = an_action(DeadLetterActionKind.DISCARDED, replace(letter, id="a\0b"))
    good = an_action(DeadLetterActionKind.DISCARDED, replace(letter, id="2"))
    await index.write([letter], [(0, huge), (1, late), (2, nul), (3, good)], [])

    found = {row["id"]: row["status"] for row in await rows(database)}
    assert (found["1"], found["2"], found["a\\x00b"]) == ("open", "discarded", "discarded")
    assert len(found) == 4


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        ("ADD COLUMN who text NOT NULL", "DROP COLUMN who"),
        ("ADD CONSTRAINT never CHECK (stage = 'gone') NOT VALID", "DROP CONSTRAINT never"),
        ("ALTER COLUMN code TYPE varchar(3)", "ALTER COLUMN code TYPE text"),
        ("ADD CONSTRAINT once UNIQUE (tenant_id)", "DROP CONSTRAINT once"),
    ],
)
async def test_an_index_that_refuses_every_row_is_waited_for(
    index: DeadLetterWriter, database: str, change: str, undo: str
) -> None:
    letters = [a_letter(id="1"), a_letter(id="2")]
    await execute(database, f"ALTER TABLE ai_orchestrator.dead_letters {change}")
    with pytest.raises(SinkBlockedError):
        await index.write(letters, [], [Moved(TOPIC, 0, None, 3)])
    assert await rows(database) == []

    await execute(database, f"ALTER TABLE ai_orchestrator.dead_letters {undo}")
    await index.write(letters, [], [Moved(TOPIC, 0, None, 3)])
    assert [row["code"] for row in await rows(database)] == ["TASK_TYPE_UNKNOWN"] * 2
