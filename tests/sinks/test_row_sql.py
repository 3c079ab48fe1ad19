"""A statement's lists of columns follow from its row type."""

import json
from typing import Annotated, NamedTuple

import pytest

from schemas.records import Json, Millis, TaskId
from sinks.columns import ChangeRow, LogRow, StepRow, TaskRow
from sinks.pool import close_pool, connection, open_pool
from sinks.row_sql import Integer, SqlType, fill_in, json_rows
from sinks.settings import PostgresSettings


class Row(NamedTuple):
    id: TaskId
    run: Integer
    seen_at: Millis | None
    document: Json | None
    beside: Annotated[int | None, SqlType("bigint", stored=False)]


class Odd(NamedTuple):
    pair: complex


ROWS = {"Row": Row}


def test_the_columns_are_those_of_the_table_in_the_order_of_the_type() -> None:
    assert fill_in("({Row.columns})", ROWS) == "(id, run, seen_at, document)"


def test_times_are_made_from_milliseconds() -> None:
    assert fill_in("{Row.values}", ROWS) == (
        "id, run, ai_orchestrator.from_millis(seen_at), document"
    )


def test_the_source_has_an_array_for_each_field() -> None:
    assert " ".join(fill_in("FROM {Row.rows}", ROWS).split()) == (
        "FROM unnest( $1::text[], $2::integer[], $3::bigint[], $4::jsonb[], $5::bigint[] )"
        " AS p ( id, run, seen_at, document, beside )"
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


@pytest.mark.parametrize("row", [TaskRow, ChangeRow, StepRow, LogRow])
async def test_the_rows_of_a_batch_can_come_as_one_json_text(
    row: type[TaskRow], postgres_dsn: str
) -> None:
    settings = PostgresSettings(dsn=postgres_dsn)
    empty = dict.fromkeys(row._fields)
    pool = await open_pool(settings)
    try:
        async with connection(pool, settings) as conn:
            found = await conn.fetch(f"SELECT * FROM {json_rows(row)}", json.dumps([empty, empty]))
    finally:
        await close_pool(pool, 5.0)

    assert [list(each.keys()) for each in found] == [list(row._fields)] * 2
