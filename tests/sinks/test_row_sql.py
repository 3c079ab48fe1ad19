"""A statement's lists of columns follow from its row type."""

import json
from typing import Annotated, Any

import asyncpg
import pytest
from msgspec import Struct

from schemas.records import Json, Millis, TaskId
from sinks.row_sql import Integer, SqlType, fill_in, rows_text


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: TaskId
    run: Integer
    seen_at: Millis | None = None
    document: Json | None = None
    beside: Annotated[int | None, SqlType("bigint", stored=False)] = None


class Odd(Struct):
    pair: complex


def a_row(**given: Any) -> Row:
    return Row(**{"id": TaskId("task_1"), "run": 1, **given})


ROWS = {"Row": Row}


def test_the_columns_are_those_of_the_table_in_the_order_of_the_type() -> None:
    assert fill_in("({Row.columns})", ROWS) == "(id, run, seen_at, document)"


def test_times_are_made_from_milliseconds() -> None:
    assert fill_in("{Row.values}", ROWS) == (
        "id, run, ai_orchestrator.from_millis(seen_at), document"
    )


def test_the_source_takes_documents_as_strings() -> None:
    assert " ".join(fill_in("FROM {Row.rows($2)}", ROWS).split()) == (
        "FROM (SELECT id, run, seen_at, document::jsonb AS document, beside"
        " FROM json_to_recordset($2::json) AS r"
        " ( id text, run integer, seen_at bigint, document text, beside bigint )) AS p"
    )


def test_a_key_is_not_overwritten() -> None:
    assert fill_in("{Row.excluded(id, run)}", ROWS).split() == (
        ["seen_at", "=", "excluded.seen_at,", "document", "=", "excluded.document"]
    )


def test_a_type_that_is_not_there_is_a_fault_of_the_query_file() -> None:
    with pytest.raises(KeyError):
        fill_in("{Nothing.columns}", ROWS)


@pytest.mark.parametrize("wrong", ["{Row.colums}", "{Row.excluded(idd)}", "{Row.excluded(beside)}"])
def test_a_name_that_a_row_type_does_not_have_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="Row"):
        fill_in(wrong, ROWS)


def test_a_field_that_sql_has_no_type_for_is_a_fault_of_the_row_type() -> None:
    with pytest.raises(TypeError, match="no type of SQL"):
        fill_in("{Odd.columns}", {"Odd": Odd})


@pytest.mark.parametrize(
    "document", ["null", "[]", '"1"', '{"a":{"b":[1.50,12345678901234567890]}}', '"},{"']
)
async def test_a_document_comes_as_it_is(document: str, postgres_dsn: str) -> None:
    (found,) = await received(postgres_dsn, a_row(document=Json(document)))

    assert json.loads(found["document"]) == json.loads(document)


async def test_a_value_that_is_not_given_is_null(postgres_dsn: str) -> None:
    rows = await received(postgres_dsn, a_row(), a_row(beside=2**60))

    assert [(row["seen_at"], row["document"], row["beside"]) for row in rows] == [
        (None, None, None),
        (None, None, 2**60),
    ]


async def test_a_text_keeps_its_marks_and_its_words(postgres_dsn: str) -> None:
    odd = "\u2028 \\ \" ' \t\x01 \N{PILE OF POO} {Row.rows}"
    (found,) = await received(postgres_dsn, a_row(id=TaskId(odd)))

    assert found["id"] == odd


def test_a_text_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        rows_text([a_row(id=TaskId("\ud800"))])


def test_no_rows_are_no_text() -> None:
    assert rows_text([]) is None


async def received(dsn: str, *rows: Row) -> list[asyncpg.Record]:
    """The rows as a statement gets them."""
    conn = await asyncpg.connect(dsn)
    try:
        return await conn.fetch(fill_in("SELECT * FROM {Row.rows($1)}", ROWS), rows_text(rows))
    finally:
        await conn.close()
