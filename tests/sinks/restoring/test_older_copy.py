"""A small system whose database is replaced by an older copy of itself."""

import asyncio
import uuid
from pathlib import Path

import httpx
import pytest

from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.settings import load_settings
from tasks.letters.ledger import LetterStatus
from tests.e2e.driving import ANY_PORTS, WAIT_S, Running, a_database, a_rag_task
from tests.e2e.letters import closed, dlq, indexed, known_letters_of, letters, replay
from tests.sinks.restoring.copies import copied, restored
from tests.sinks.restoring.small_system import PARTITIONS, TENANT, tasks_ended, verified


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.timeout(240)
async def test_rows_counts_and_letters_catch_up_with_an_older_copy_of_the_database(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path
) -> None:
    calls = tmp_path / "calls.jsonl"
    environment = {
        **ANY_PORTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_TOPICS_PREFIX": f"restore-{uuid.uuid4().hex[:8]}.",
        "ORCH_TOPICS_PARTITIONS": str(PARTITIONS),
        "ORCH_POSTGRES_DSN": await a_database(postgres_dsn),
        "ORCH_DEMO_CALL_LOG": str(calls),
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    async with open_system(
        settings, environment=environment, logs=tmp_path, together=True
    ) as system:
        running = Running(system=system, call_log=calls, logs=tmp_path)
        dsn, first, second = settings.postgres.dsn, a_name(), a_name()
        before = await tasks_ended(running)
        bad = [a_rag_task(TENANT, type="poetry") for _ in range(4)]
        await running.create(bad)
        found = await letters(running, TENANT, len(bad))
        discarded, replayed, *_ = (known.letter.id for known in found)
        await letters_agree(running)
        await copied(dsn, first)
        await copied(dsn, second)

        after = await tasks_ended(running)
        await dlq(running, "discard", discarded, "--execute", "--reason", "after the copy")
        await replay(running, replayed)
        await running.create([a_rag_task(TENANT, type="poetry") for _ in range(4)])
        await letters(running, TENANT, 9)
        await closed(running, replayed)
        wanted = await letters_agree(running)

        # While all roles run, and no event comes.
        restarts = system.supervisor.restarts["all"]
        await restored(dsn, first)
        await running.ended([*before, *after])
        assert await letters_agree(running) == wanted
        await verified(running)
        assert system.supervisor.restarts["all"] == restarts

        # While none of them runs.
        await system.supervisor.stop("all")
        await restored(dsn, second)
        await until_answered(running, after[0], 503)
        await system.supervisor.start("all")
        await running.ended([*before, *after])
        assert await letters_agree(running) == wanted
        await until_answered(running, after[0], 200)
        await verified(running)
        await running.check([*before, *after], quiet=True)


def a_name() -> str:
    return f"copy_{uuid.uuid4().hex}"


async def letters_agree(running: Running) -> dict[str, LetterStatus]:
    """Wait until the index shows what the topics have; return it."""
    known = await known_letters_of(running, [TENANT])
    wanted = {one.letter.id: one.status for one in known}
    async with asyncio.timeout(WAIT_S):
        while await indexed(running, [TENANT]) != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    return wanted


async def until_answered(running: Running, task_id: str, status: int) -> None:
    """Ask the service for a task; it never says that there is no such task."""
    url = f"http://{running.system.http_address}/api/v1/tasks/{task_id}"
    async with httpx.AsyncClient() as client:
        async with asyncio.timeout(WAIT_S):
            while (answered := (await client.get(url)).status_code) != status:
                assert answered != 404
                await asyncio.sleep(0.1)
