"""A system whose reads go to a streaming standby, and whose database is recovered to a moment."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.local.dev.system import DEV_DEFAULTS, SERVE, open_system
from orchestrator.settings import load_settings
from tests.e2e.driving import ANY_PORTS, WAIT_S, Running
from tests.sinks.restoring.debian_postgres import USER, DebianPostgres
from tests.sinks.restoring.small_system import PARTITIONS, tasks_ended, verified

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="session"),
]

DATABASE = "orders"
ENDED_MAX = 1
"""Ended tasks in the service's memory: the others are read from the standby."""


class Service:
    """The service, as its callers see it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def task(self, task_id: str, *, min_sequence: int = 0) -> tuple[int, dict[str, Any]]:
        """The status of the answer, and its body."""
        wanted = {"min_sequence": min_sequence}
        answer = await self._client.get(f"/api/v1/tasks/{task_id}", params=wanted)
        return answer.status_code, answer.json()

    async def listed(self) -> dict[str, str]:
        """The tasks of a list, and their status."""
        answer = await self._client.get("/api/v1/tasks", params={"page_size": 100})
        assert answer.status_code == 200, answer.text
        return {task["id"]: task["status"] for task in answer.json()["tasks"]}

    async def created(self, *, hold: bool = False) -> dict[str, Any]:
        """A new task, which ended if it is not held."""
        path = "/api/v1/tasks" if hold else "/api/v1/tasks:execute"
        body = {"type": "rag", "input": {"query": "What is a dead letter?"}, "hold": hold}
        task: dict[str, Any] = (await self._posted(path, body))["task"]
        return task

    async def executed(self, task_id: str) -> dict[str, Any]:
        """A held task after its end."""
        return await self._posted(f"/api/v1/tasks/{task_id}:execute", None)

    async def until_listed(self, condition: Callable[[dict[str, str]], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition(await self.listed()):  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.1)

    async def _posted(self, path: str, body: object) -> dict[str, Any]:
        answer = await self._client.post(path, json=body, headers={"Prefer": "wait=60"})
        assert answer.status_code < 300, answer.text
        done: dict[str, Any] = answer.json()
        return done


@asynccontextmanager
async def a_system(
    kafka_bootstrap: str, folder: Path, dsn: str, reader_dsn: str = ""
) -> AsyncIterator[tuple[Running, Service]]:
    calls = folder / "calls.jsonl"
    environment = {
        **ANY_PORTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_TOPICS_PREFIX": f"standby-{uuid.uuid4().hex[:8]}.",
        "ORCH_TOPICS_PARTITIONS": str(PARTITIONS),
        "ORCH_POSTGRES_DSN": dsn,
        "ORCH_DEMO_CALL_LOG": str(calls),
    }
    of_service = {"ORCH_POSTGRES_READER_DSN": reader_dsn, "ORCH_API_ENDED_MAX": str(ENDED_MAX)}
    async with open_system(
        load_settings(environment, DEV_DEFAULTS),
        environment=environment,
        environment_of={SERVE: of_service},
        logs=folder,
        together=True,
    ) as system:
        running = Running(system=system, call_log=calls, logs=folder)
        url = f"http://{system.http_address}"
        async with httpx.AsyncClient(base_url=url, timeout=WAIT_S) as client:
            await until_ready(client)
            yield running, Service(client)


async def until_ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


@asynccontextmanager
async def servers(*made: DebianPostgres) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for server in made:
            await server.kill()


async def test_reads_at_a_stale_standby_are_never_older_than_asked_and_it_may_be_promoted(
    kafka_bootstrap: str, server_dir: Path, tmp_path: Path
) -> None:
    primary = DebianPostgres(server_dir / "primary")
    standby = DebianPostgres(server_dir / "standby")
    either = (
        f"postgresql://{USER}@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/{DATABASE}"
        "?target_session_attrs=read-write"
    )
    async with servers(primary, standby):
        await primary.make()
        await primary.start()
        await primary.value(f"CREATE DATABASE {DATABASE}")
        await standby.copy(primary, "-R", "-C", "-S", "replica1", "-X", "stream")
        await standby.start()
        async with a_system(kafka_bootstrap, tmp_path, either, standby.dsn(DATABASE)) as (
            running,
            service,
        ):
            held = await service.created(hold=True)
            await service.until_listed(lambda listed: listed.get(held["id"]) == "pending")

            await standby.value("SELECT pg_wal_replay_pause()")
            await standby.until("SELECT pg_get_wal_replay_pause_state() = 'paused'")
            done = await service.executed(held["id"])
            others = [await service.created() for _ in range(ENDED_MAX + 1)]
            rows = await running.ended([held["id"], *(task["id"] for task in others)])
            assert rows[held["id"]]["sequence"] == done["sequence"]
            # What its memory still has is up to date, what it has not is as old as the standby.
            assert (await service.task(others[-1]["id"]))[1]["status"] == "completed"
            assert (await service.task(held["id"]))[1]["status"] == "pending"
            status, problem = await service.task(held["id"], min_sequence=done["sequence"])
            assert (status, problem["code"]) == (503, "UNAVAILABLE")
            assert await service.listed() == {held["id"]: "pending"}

            waiting = asyncio.create_task(service.task(held["id"], min_sequence=done["sequence"]))
            await standby.value("SELECT pg_wal_replay_resume()")
            status, task = await waiting
            assert (status, task["sequence"]) == (200, done["sequence"])
            await service.until_listed(lambda listed: others[-1]["id"] in listed)

            # The standby falls behind for good, and takes over: the last rows are lost.
            await standby.value("ALTER SYSTEM SET primary_conninfo = ''")
            await standby.value("SELECT pg_reload_conf()")
            await standby.until("SELECT count(*) = 0 FROM pg_stat_wal_receiver")
            lost = [await service.created() for _ in range(ENDED_MAX + 1)]
            await running.ended([task["id"] for task in lost])
            await primary.kill()
            late = [await service.created() for _ in range(ENDED_MAX + 1)]
            assert set(await service.listed()) == {task["id"] for task in (held, *others)}
            await standby.value("SELECT pg_promote()")
            ids = [task["id"] for task in (held, *others, *lost, *late)]
            await service.until_listed(lambda listed: listed == dict.fromkeys(ids, "completed"))
            await verified(running)


async def test_a_database_that_is_recovered_to_an_earlier_moment_catches_up(
    kafka_bootstrap: str, server_dir: Path, tmp_path: Path
) -> None:
    archive = server_dir / "archive"
    archive.mkdir(mode=0o777)
    archive.chmod(0o777)
    primary = DebianPostgres(server_dir / "archived")
    recovered = DebianPostgres(server_dir / "recovered", port=primary.port)
    async with servers(primary, recovered):
        await primary.make()
        await primary.start({"archive_mode": "on", "archive_command": f"cp %p {archive}/%f"})
        await primary.value(f"CREATE DATABASE {DATABASE}")
        async with a_system(kafka_bootstrap, tmp_path, primary.dsn(DATABASE)) as (running, _):
            ids = await tasks_ended(running)
            await recovered.copy(primary, "-X", "none")
            ids += await tasks_ended(running)
            moment = await primary.value("SELECT clock_timestamp()::text")
            lost = await tasks_ended(running)
            segment = await primary.value("SELECT pg_walfile_name(pg_switch_wal())")
            await primary.until(f"SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver")
            await primary.kill()

            recovered.recover()
            await recovered.start(
                {
                    "restore_command": f"cp {archive}/%f %p",
                    "recovery_target_time": str(moment),
                    "recovery_target_action": "pause",
                }
            )
            await recovered.until("SELECT pg_get_wal_replay_pause_state() = 'paused'")
            found = await running.rows([*ids, *lost])
            await recovered.value("SELECT pg_promote()")
            await running.ended([*ids, *lost])
            await verified(running)

    assert set(found) == set(ids)
