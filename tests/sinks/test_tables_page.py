"""docs/tables.md: its columns are those of the database, and its queries work and find an index."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from schemas.records import Millis, ResultKind
from sinks.settings import PostgresSettings
from sinks.writer import Writer
from tests.sinks.building import ALog, write_all

PAGE = Path("docs/tables.md").read_text("utf-8")
QUERIES = dict(
    re.findall(r"^### \d+\. (.+?)\n\n```sql\n(.+?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
)
TABLES = {
    name: (
        text.strip().split("\n\n")[0],
        re.findall(r"^\| `(\w+)` \| `([\w()]+)` \| (yes|no) \| (.+) \|$", text, re.MULTILINE),
    )
    for name, text in re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
MADE_BY_THE_RUNNER = "schema_migrations"
"""A table without comments: it is there before the first migration."""
LARGE_ROWS = 1_000

COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           col_description(c.oid, a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'ai_orchestrator'::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY c.relname, a.attnum
"""
SPELT = {
    "character varying": "varchar",
    "timestamp with time zone": "timestamptz",
}

MANY_ROWS = """
SELECT ai_orchestrator.ensure_month((now() - make_interval(months => m))::date)
FROM generate_series(0, 2) m;

INSERT INTO ai_orchestrator.tasks (id, type, status, phase, priority, conversation_id, tenant_id,
    input, steps, metadata, created_at, updated_at, started_at, completed_at, deadline_at,
    pipeline, pipeline_version, run, sequence, error_code, error_category, event_partition,
    event_offset)
SELECT 'many_' || n, 'rag', status, status, n % 10, 'c_' || n % 5000, 'tenant_' || n % 20,
    '{}', '[]', json_build_object('source', json_build_object('app', 'app_' || n % 500)),
    at, at, at, CASE WHEN status <> 'pending' THEN at + interval '2 s' END, at, 'rag', 1, 1, 4,
    CASE WHEN status = 'failed' THEN 'UNAVAILABLE' END, NULL, 0, n
FROM (
    SELECT n, now() - n * interval '4 min' AS at,
        CASE WHEN n % 20 = 0 THEN 'failed' WHEN n % 200 = 1 THEN 'pending'
             ELSE 'completed' END AS status
    FROM generate_series(1, 20000) n
) made;

INSERT INTO ai_orchestrator.task_steps (task_id, run, step, attempt, step_index, tenant_id,
    command_id, service, status, event_offset)
SELECT 'many_' || n, 1, step, attempt, 0, 'acme', 'many_' || n || '/1/' || step || '/' || attempt,
    step, CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'succeeded' END, n
FROM generate_series(1, 20000) n, unnest(ARRAY['retrieve', 'generate']) step,
    generate_series(1, 4) attempt;

INSERT INTO ai_orchestrator.task_execution_logs (task_id, event_type, event_data, created_at,
    tenant_id, log_partition, event_offset)
SELECT 'many_' || n, 'created', '{}', now() - n * interval '4 min', 'acme', 1, n
FROM generate_series(1, 20000) n;

INSERT INTO ai_orchestrator.dead_letters (id, topic, code, tenant_id, status, dead_lettered_at)
SELECT 'letter_' || n, 'task-created', 'DECODE_FAILED', 'acme',
    CASE WHEN n % 50 = 0 THEN 'open' ELSE 'resolved' END, now() - n * interval '10 min'
FROM generate_series(1, 20000) n;
"""


async def test_the_page_has_every_column_with_its_type_and_its_comment(database: str) -> None:
    conn = await asyncpg.connect(database)
    found: dict[str, list[tuple[str, ...]]] = {}
    for table, column, type_, not_null, comment in await conn.fetch(COLUMNS):
        for name, short in SPELT.items():
            type_ = type_.replace(name, short)
        found.setdefault(table, []).append((column, type_, "no" if not_null else "yes", comment))
    await conn.close()
    page = {name: columns for name, (_, columns) in TABLES.items()}
    runner, of_page = found.pop(MADE_BY_THE_RUNNER), page.pop(MADE_BY_THE_RUNNER)

    assert found == page
    assert [row[:3] for row in runner] == [row[:3] for row in of_page]


async def test_every_table_and_function_has_its_comment(database: str) -> None:
    conn = await asyncpg.connect(database)
    for table, (meaning, _) in TABLES.items():
        comment = await conn.fetchval(
            "SELECT obj_description(to_regclass($1), 'pg_class')", f"ai_orchestrator.{table}"
        )
        assert comment == (None if table == MADE_BY_THE_RUNNER else meaning)
    without = await conn.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'ai_orchestrator'::regnamespace"
        " AND obj_description(oid, 'pg_proc') IS NULL"
    )
    await conn.close()

    assert without == []


def test_there_are_ten_queries() -> None:
    assert len(QUERIES) == 10


@pytest.mark.parametrize("question", QUERIES)
async def test_a_query_answers_from_a_real_projection(database: str, question: str) -> None:
    log = ALog(now=Millis(int(time.time() * 1000)))
    for task_id in ("task_1", "task_2", "task_3"):
        log.create(task_id)
    log.report(ResultKind.STARTED, "task_1")
    log.run_to_the_end("task_1")
    log.report(ResultKind.FAILED, "task_2")
    writer = Writer(PostgresSettings(dsn=database))
    await writer.open()
    await write_all(writer, log.events)
    await writer.close()
    conn = await asyncpg.connect(database)
    await conn.execute(
        "INSERT INTO ai_orchestrator.dead_letters (id, topic, code, dead_lettered_at)"
        " VALUES ('l', 'task-created', 'DECODE_FAILED', now())"
    )
    rows = await conn.fetch(QUERIES[question])
    await conn.close()

    assert rows, question


async def test_no_query_reads_a_large_table_from_end_to_end(database: str) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute(MANY_ROWS)
    await conn.execute("ANALYZE")
    rows = await conn.fetch("SELECT relname, reltuples FROM pg_class")
    sizes = {row["relname"]: row["reltuples"] for row in rows}
    scanned = {}
    for question, query in QUERIES.items():
        [plan] = json.loads(await conn.fetchval(f"EXPLAIN (FORMAT JSON) {query}"))
        tables = [node["Relation Name"] for node in nodes(plan["Plan"]) if is_whole(node)]
        scanned[question] = [table for table in tables if sizes[table] > LARGE_ROWS]
    await conn.close()

    assert scanned == {question: [] for question in QUERIES}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def is_whole(node: dict[str, Any]) -> bool:
    return str(node["Node Type"]).endswith("Seq Scan")
