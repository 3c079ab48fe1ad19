"""An engine on running servers, with topics and a database of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import structlog

from benchmarks.processes import cpu_s
from benchmarks.raw_chain import CREATE_TABLE, STEPS, TABLE, output_of
from orchestrator.dev.supervisor import Supervisor
from orchestrator.dev.system import DEV_DEFAULTS
from orchestrator.embedded.kafka import EmbeddedKafka
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.embedded.process import Child
from orchestrator.layout import topic_table
from orchestrator.settings import Settings, load_settings
from sinks.migrate import migrate_up
from streams.admin import Admin
from tasks.pipeline_file import load_pipelines

_PIPELINES = Path("benchmarks/pipelines")
_TEXTS = {path.name: path.read_text("utf-8") for path in _PIPELINES.glob("*.yaml")}
_POLL_S = 0.25
RAW, OURS = "raw chain", "orchestrator"
RAW_BYTES = "raw chain without a codec"
ENGINES = (RAW, OURS)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A running engine; the ``bench`` pipeline of two steps."""

    engine: str
    settings: Settings
    children: Sequence[Child]
    servers: Mapping[str, int]
    """Process ids of the broker and of Postgres."""

    @property
    def table(self) -> str:
        """Where the engine's rows are."""
        return "ai_orchestrator.tasks" if self.engine == OURS else TABLE

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each process until now; of the servers, those since their start."""
        pids = {child.name: child.pid or 0 for child in self.children} | dict(self.servers)
        return {name: cpu_s(pid) for name, pid in pids.items()}

    async def until_completed(
        self, connection: asyncpg.Connection, tasks: int, seconds: float
    ) -> None:
        """Wait until so many tasks are completed with the right output.

        Raises:
            SystemExit: they were not in time; what was measured is void.
        """
        completed = 0
        try:
            async with asyncio.timeout(seconds):
                while completed < tasks:
                    await asyncio.sleep(_POLL_S)
                    completed = await self.completed(connection)
        except TimeoutError:
            said = f"void: {self.engine} has {completed} right results of {tasks}"
            raise SystemExit(said) from None

    async def completed(self, connection: asyncpg.Connection) -> int:
        """How many tasks are completed with the right output."""
        # Not those of others, which may be a million.
        of_bench = "tenant_id = 'bench' AND " if self.engine == OURS else ""
        count: int = await connection.fetchval(
            f"SELECT count(*) FROM {self.table}"
            f" WHERE {of_bench}status = 'completed' AND output = $1::jsonb",
            output_of(STEPS[1]),
        )
        return count


@asynccontextmanager
async def running_servers(
    folder: Path, *, commit_timestamps: bool = False
) -> AsyncIterator[tuple[EmbeddedKafka, EmbeddedPostgres]]:
    """A broker and a Postgres that waits for the disk at each commit."""
    _keep_quiet()
    kafka, postgres = EmbeddedKafka(folder / "kafka"), EmbeddedPostgres(folder / "postgres")
    try:
        await kafka.start()
        await postgres.start()
        if commit_timestamps:
            await execute(postgres.dsn, "ALTER SYSTEM SET track_commit_timestamp = on")
            await postgres.stop()
            await postgres.start()
        yield kafka, postgres
    finally:
        await kafka.kill()
        await postgres.stop()


def _keep_quiet() -> None:
    """Only tables: not which server started, nor what a client tries again on new topics."""
    level = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=level)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


@asynccontextmanager
async def deployed(
    engine: str,
    kafka: EmbeddedKafka,
    postgres: EmbeddedPostgres,
    folder: Path,
    *,
    template: str | None = None,
) -> AsyncIterator[Deployment]:
    """Start an engine's processes, which need some seconds more until they are ready.

    Args:
        engine: one of the names above.
        kafka: gets topics for this engine.
        postgres: gets a database for this engine.
        folder: for logs.
        template: the DSN of a database to begin with a copy of; None: an empty one.

    Raises:
        SystemExit: a process ended on its own; what was measured is void.
    """
    environment = {
        **DEV_DEFAULTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "ORCH_POSTGRES_DSN": await a_database(postgres.dsn, template),
        "ORCH_TOPICS_PREFIX": f"{uuid.uuid4().hex[:8]}.",
        "ORCH_PIPELINES_DIR": str(_PIPELINES),
        "ORCH_SERVICES_EXTRA": "noop=python://benchmarks.noop:answer",
        "ORCH_LOG_LEVEL": "warning",
    }
    settings = load_settings(environment)
    async with Admin(settings.kafka) as admin:
        await admin.apply(topic_table(settings, load_pipelines(_TEXTS)))
    await migrate_up(settings.postgres.dsn)
    if engine != OURS:
        await execute(settings.postgres.dsn, CREATE_TABLE)
    children = [
        Child(
            name,
            command,
            env={**os.environ, **environment},
            log_path=folder / f"{settings.topics.prefix}{name}.log",
        )
        for name, command in _commands(engine, settings).items()
    ]
    servers = {"kafka": kafka.pid or 0, "postgres": postgres.pid or 0}
    async with Supervisor(children) as supervisor:
        yield Deployment(engine, settings, children, servers)
        if any(supervisor.restarts.values()):
            raise SystemExit(f"void: {engine} had to be restarted: {supervisor.restarts}")


def _commands(engine: str, settings: Settings) -> dict[str, list[str]]:
    python = [sys.executable, "-m"]
    if engine == OURS:
        roles = ["router", *(f"step.{step}" for step in STEPS), "sink"]
        return {role: [*python, "orchestrator", "worker", role] for role in roles}
    places = [settings.kafka.bootstrap, settings.topics.prefix, settings.postgres.dsn]
    module = "benchmarks.raw_chain" if engine == RAW else "benchmarks.raw_bytes"
    return {
        f"raw {role}": [*python, module, role, *places] for role in ("router", "worker", "sink")
    }


async def a_database(server_dsn: str, template: str | None = None) -> str:
    """An empty database, or a copy of one that nobody uses; its DSN."""
    name = f"bench_{uuid.uuid4().hex}"
    # A million rows would go through the write-ahead log otherwise.
    copied = "" if template is None else f" TEMPLATE {name_of(template)} STRATEGY file_copy"
    await execute(server_dsn, f"CREATE DATABASE {name}{copied}")
    return server_dsn.rsplit("/", 1)[0] + f"/{name}"


def name_of(dsn: str) -> str:
    """The database of a DSN."""
    return dsn.rsplit("/", 1)[1]


async def execute(dsn: str, statement: str) -> None:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
