"""A database that is restored from a dump, table by table, while all roles run."""

import asyncio
import json
import uuid
from pathlib import Path

import asyncpg
import pytest

from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.local.embedded.postgres_home import find_programs
from orchestrator.settings import load_settings
from tests.e2e.driving import ANY_PORTS, Running, a_database, a_rag_task
from tests.sinks.restoring.small_system import PARTITIONS, TENANT, tasks_ended, verified

pytestmark = pytest.mark.pages
_SECTIONS = ("pre-data", "data", "post-data")
"""Tables, then their rows, then their keys and indexes."""


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.timeout(240)
async def test_all_roles_wait_for_a_restore_that_makes_the_tables_again(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path
) -> None:
    environment = {
        **ANY_PORTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_TOPICS_PREFIX": f"dump-{uuid.uuid4().hex[:8]}.",
        "ORCH_TOPICS_PARTITIONS": str(PARTITIONS),
        "ORCH_POSTGRES_DSN": await a_database(postgres_dsn),
        "ORCH_DEMO_CALL_LOG": str(tmp_path / "calls.jsonl"),
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    async with open_system(
        settings, environment=environment, logs=tmp_path, together=True
    ) as system:
        running = Running(system=system, call_log=tmp_path / "calls.jsonl", logs=tmp_path)
        dsn, dump = settings.postgres.dsn, tmp_path / "dump"
        before = await tasks_ended(running)
        await client(
            "pg_dump", "--format=custom", f"--file={dump}", "--schema=ai_orchestrator", dsn
        )
        after = await tasks_ended(running)
        restarts = system.supervisor.restarts["all"]

        # While all roles run, and tasks go on.
        await drop(dsn)
        await running.until(lambda: waits(running) > 0)
        between = [a_rag_task(TENANT) for _ in range(4)]
        await running.create(between)
        for section in _SECTIONS:
            await client("pg_restore", f"--section={section}", f"--dbname={dsn}", str(dump))
        ids = [*before, *after, *(task.task_id for task in between)]
        await running.ended(ids)
        await verified(running)
        assert system.supervisor.restarts["all"] == restarts

        # A process that is started while the schema is away waits, too.
        await system.supervisor.stop("all")
        await drop(dsn)
        waited = waits(running)
        await system.supervisor.start("all")
        await running.until(lambda: waits(running) > waited)
        await client("pg_restore", f"--dbname={dsn}", str(dump))
        await running.ended(ids)
        await verified(running)
        await running.check(ids, quiet=True)


async def client(program: str, *arguments: str) -> None:
    """Run a program of Postgres; it must say nothing."""
    process = await asyncio.create_subprocess_exec(
        find_programs(None) / program, *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert (process.returncode, said.decode()) == (0, "")


async def drop(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("DROP SCHEMA ai_orchestrator CASCADE")
    finally:
        await connection.close()


def waits(running: Running) -> int:
    """How often the log of the roles says that they wait for the tables."""
    lines = (running.logs / "all.log").read_text("utf-8").splitlines()
    said = [json.loads(line) for line in lines if "postgres_refuses_all" in line]
    return [line["code"] for line in said].count("SCHEMA_MISSING")
