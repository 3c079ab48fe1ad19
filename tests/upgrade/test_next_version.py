"""Two neighbouring versions run beside each other on one log, and each takes over from the other.

The present version runs beside one that has a further migration and reads a further field of the
log; that one runs beside the next, which also writes the field.
"""

import os
import struct
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.layout import ALL
from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.local.embedded.process import Child
from orchestrator.settings import load_settings
from schemas.records import TaskId
from streams.kafka.log_reader import LogReader
from tests.checker.defects.patches import ROOT
from tests.e2e.driving import ANY_PORTS, Running, a_database, a_rag_task
from tests.upgrade.next_version import MIGRATION, SCHEMA_ID, make_next

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.upgrade,
    pytest.mark.timeout(600),
]

TASKS = 20
STOP_S = 60.0


class Version:
    """A tree, and its processes on the system of a test."""

    def __init__(self, name: str, tree: Path, variables: Mapping[str, str], folder: Path) -> None:
        self._name, self._tree, self._folder = name, tree, folder
        self._env = {**os.environ, **variables, "PYTHONPATH": str(tree)}
        self.worker = self._process("worker", ALL)

    def _process(self, *arguments: str) -> Child:
        name = "-".join((self._name, *arguments))
        return Child(
            name,
            [sys.executable, "-m", "orchestrator", *arguments],
            env={**self._env, "ORCH_KAFKA_INSTANCE_ID": name, "ORCH_METRICS_NAME": name},
            cwd=self._tree,
            log_path=self._folder / f"{name}.log",
        )

    async def run(self, *arguments: str) -> None:
        """Run a command to its end; AssertionError with its output if it fails."""
        command = self._process(*arguments)
        command.start()
        assert await command.wait(120) == 0, command.log_tail(40)

    def has_all_roles(self) -> bool:
        """Whether its worker was given partitions of every group."""
        if self.worker.returncode is not None:
            raise AssertionError(self.worker.log_tail(40))
        return self.worker.log_tail(2_000).count('"event": "role_started"') >= 8


@asynccontextmanager
async def a_pair(
    older: Path, newer: Path, kafka_bootstrap: str, postgres_dsn: str, folder: Path
) -> AsyncIterator[tuple[Running, Version, Version]]:
    """Topics and tables of the present version, and both versions; none of their workers runs."""
    environment = {
        **ANY_PORTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_KAFKA_SESSION_TIMEOUT_S": "6",
        "ORCH_POSTGRES_DSN": await a_database(postgres_dsn),
        "ORCH_TOPICS_PREFIX": f"next-{uuid.uuid4().hex[:8]}.",
        "ORCH_DEMO_CALL_LOG": str(folder / "calls.jsonl"),
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    async with open_system(settings, environment=environment, logs=folder, together=True) as system:
        await system.supervisor.stop(ALL)
        running = Running(system=system, call_log=folder / "calls.jsonl", logs=folder)
        versions = [
            Version(name, tree, system.environment, folder)
            for name, tree in (("older", older), ("newer", newer))
        ]
        try:
            yield running, versions[0], versions[1]
        finally:
            for version in versions:
                version.worker.kill()


@pytest.mark.parametrize("writes", [False, True], ids=["reads a field more", "writes it"])
async def test_neighbouring_versions_share_a_log_and_take_over_from_each_other(
    writes: bool, kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path
) -> None:
    reading, writing, folder = tmp_path / "reading", tmp_path / "writing", tmp_path / "logs"
    folder.mkdir()  # a test, and before anything runs
    make_next(reading, written=False)
    if writes:
        make_next(writing, written=True)
    trees = (reading, writing) if writes else (ROOT, reading)
    ids: list[TaskId] = []

    async with a_pair(*trees, kafka_bootstrap, postgres_dsn, folder) as (running, older, newer):

        async def work() -> None:
            tasks = [a_rag_task() for _ in range(TASKS)]
            ids.extend(task.task_id for task in tasks)
            await running.create(tasks)
            rows = await running.ended([task.task_id for task in tasks], timeout_s=120)
            assert {row["status"] for row in rows.values()} == {"completed"}

        await older.run("migrate", "up", "--phase", "post")
        older.worker.start()
        await running.until(older.has_all_roles)
        await newer.run("migrate", "up", "--phase", "pre")
        await work()
        newer.worker.start()
        await running.until(newer.has_all_roles)
        await work()
        await older.worker.stop(STOP_S)
        await work()
        older.worker.start()
        await running.until(older.has_all_roles)
        await newer.worker.stop(STOP_S)
        await work()

        assert set(running.calls_by_key(ids).values()) == {1}
        assert (SCHEMA_ID in await ids_of_events(running)) == writes
        await newer.run("sink", "verify")
        await newer.run("migrate", "status")
        if not writes:
            await running.check(ids)

    assert MIGRATION in (folder / "newer-migrate-status.log").read_text()


async def ids_of_events(running: Running) -> set[int]:
    """The schema ids of all records of the log."""
    topic, found = running.topics.task_events, set[int]()
    async with LogReader(running.system.settings.kafka, client_id="test") as reader:
        for partition in range(running.system.settings.topics.partitions):
            start, end = await reader.bounds(topic, partition)
            async for records in reader.read(topic, partition, start, end):
                found |= {schema_id_of(record.value) for record in records}
    return found


def schema_id_of(value: bytes | None) -> int:
    assert value is not None
    schema_id: int = struct.unpack(">bI", value[:5])[1]
    return schema_id
