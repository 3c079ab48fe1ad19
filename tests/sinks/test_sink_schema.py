"""The schema has what its users were promised, and the queries fit it."""

import asyncpg
import pytest

from sinks.queries import load

PROMISED_COLUMNS = {
    "tasks": {
        "id": "character varying",
        "type": "character varying",
        "status": "character varying",
        "priority": "integer",
        "conversation_id": "character varying",
        "user_id": "character varying",
        "tenant_id": "character varying",
        "input": "jsonb",
        "output": "jsonb",
        "steps": "jsonb",
        "metadata": "jsonb",
        "created_at": "timestamp with time zone",
        "updated_at": "timestamp with time zone",
        "started_at": "timestamp with time zone",
        "completed_at": "timestamp with time zone",
    },
    "task_execution_logs": {
        "id": "bigint",
        "task_id": "character varying",
        "event_type": "character varying",
        "event_data": "jsonb",
        "created_at": "timestamp with time zone",
    },
}
PROMISED_INDEXES = {
    "idx_type": "btree (type, created_at DESC)",
    "idx_status": "btree (status, created_at DESC)",
    "idx_priority": "btree (priority)",
    "idx_conversation": "btree (conversation_id, created_at DESC)",
    "idx_user": "btree (user_id)",
    "idx_tenant": "btree (tenant_id, created_at DESC)",
    "idx_created_at": "btree (created_at)",
    "idx_tasks_tenant_status": "btree (tenant_id, status, created_at DESC)",
    "idx_tasks_status_priority": "btree (status, priority DESC, created_at)",
    "idx_tasks_metadata": "gin (metadata jsonb_path_ops)",
    "tasks_pkey": "btree (id, created_at)",
}


@pytest.mark.parametrize("table", PROMISED_COLUMNS)
async def test_every_promised_column_is_there(database: str, table: str) -> None:
    conn = await asyncpg.connect(database)
    rows = await conn.fetch(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'ai_orchestrator' AND table_name = $1",
        table,
    )
    await conn.close()

    found = {row["column_name"]: row["data_type"] for row in rows}
    assert PROMISED_COLUMNS[table].items() <= found.items()


async def test_every_promised_index_is_there_by_its_name(database: str) -> None:
    conn = await asyncpg.connect(database)
    rows = await conn.fetch(
        "SELECT indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = 'ai_orchestrator' AND tablename = 'tasks'"
    )
    await conn.close()

    found = {row["indexname"]: row["indexdef"].split("USING ")[1] for row in rows}
    assert found == PROMISED_INDEXES


@pytest.mark.parametrize("table", ["tasks", "task_execution_logs"])
async def test_tables_that_grow_are_partitioned_by_month(database: str, table: str) -> None:
    conn = await asyncpg.connect(database)
    key = await conn.fetchval(
        f"SELECT pg_get_partkeydef('ai_orchestrator.{table}'::regclass)",
    )
    await conn.close()

    assert key == "RANGE (created_at)"


def test_a_query_without_a_description_is_refused() -> None:
    with pytest.raises(ValueError, match="query a has no description"):
        load("-- name: a\nSELECT 1;")


def test_two_queries_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="query a is empty, or there are two"):
        load("-- name: a\n-- One.\nSELECT 1;\n-- name: a\n-- Two.\nSELECT 2;")
