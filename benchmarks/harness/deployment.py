"""An engine on running servers, with topics and a database of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import structlog

from benchmarks.chains.fair import ROLES as FAIR_ROLES
from benchmarks.chains.raw import CREATE_TABLE, TABLE
from benchmarks.harness.names import FAIR, FAUST, FAUST_TUNED, OURS, RAW, RAW_BYTES
from benchmarks.harness.processes import cpu_s, rss_mib
from benchmarks.harness.workload import SERVICES, TWO_STEPS, TYPE, Work
from orchestrator.layout import topic_table
from orchestrator.local.dev.supervisor import Supervisor
from orchestrator.local.dev.system import DEV_DEFAULTS
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.local.embedded.process import Child
from orchestrator.settings import Settings, load_settings
from sinks.schema.migrate import migrate_up
from streams.kafka.admin import Admin

_POLL_S = 0.25
_CHUNK_IDS = 10_000
_ROLES = ("router", "worker", "sink")
_WITH_OUR_TABLES = (FAIR, OURS)
_CHAINS = {
    RAW: ("benchmarks.chains.raw",),
    FAIR: ("benchmarks.chains.fair",),
    RAW_BYTES: ("benchmarks.chains.raw_bytes",),
    FAUST: ("benchmarks.chains.faust_agents",),
    FAUST_TUNED: ("benchmarks.chains.faust_agents", "--batched"),
}


@dataclass(frozen=True, slots=True)
class Deployment:
    """An engine with topics and a database of its own; its processes run, or will."""

    engine: str
    work: Work
    settings: Settings
    supervisor: Supervisor
    children: Sequence[Child]
    servers: Mapping[str, int]
    """Process ids of the broker and of Postgres."""
    killed: set[str] = field(default_factory=set)
    """Processes that whoever measures killed."""

    @property
    def table(self) -> str:
        """Where the engine's rows are."""
        return "ai_orchestrator.tasks" if self.engine in _WITH_OUR_TABLES else TABLE

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each process until now; of the servers, those since their start."""
        pids = {child.name: child.pid or 0 for child in self.children} | dict(self.servers)
        return {name: cpu_s(pid) for name, pid in pids.items()}

    def memory(self) -> dict[str, float]:
        """Resident MiB of each process of the engine."""
        return {child.name: rss_mib(child.pid or 0) for child in self.children}

    def raise_peaks(self, peak_mib: dict[str, float]) -> None:
        """Put into ``peak_mib`` what a process holds now, where that is more than it says."""
        for name, mib in self.memory().items():
            peak_mib[name] = max(mib, peak_mib.get(name, 0.0))

    def pause(self) -> None:
        """Let all processes of the engine stand still; their connections stay open."""
        for child in self.children:
            self.supervisor.pause(child.name)

    def resume(self) -> None:
        """Let them go on."""
        for child in self.children:
            self.supervisor.resume(child.name)

    async def until_completed(
        self,
        connection: asyncpg.Connection,
        tasks: int,
        seconds: float,
        *,
        poll_s: float = _POLL_S,
        look: Callable[[int], None] = lambda _completed: None,
    ) -> None:
        """Wait until so many tasks are completed; ``look`` gets their number at each poll.

        Raises:
            SystemExit: they were not in time; what was measured is void.
        """
        completed = 0
        try:
            async with asyncio.timeout(seconds):
                while completed < tasks:
                    await asyncio.sleep(poll_s)
                    completed = await self.completed(connection)
                    look(completed)
        except TimeoutError:
            said = f"void: {self.engine} has completed {completed} tasks of {tasks}"
            raise SystemExit(said) from None

    async def completed(self, connection: asyncpg.Connection) -> int:
        """How many tasks are completed."""
        # Not those of others, which may be a million.
        of_bench = f"tenant_id = '{TYPE}' AND " if self.engine in _WITH_OUR_TABLES else ""
        count: int = await connection.fetchval(
            f"SELECT count(*) FROM {self.table} WHERE {of_bench}status = 'completed'"
        )
        return count

    async def verify(self, ids: Sequence[str]) -> None:
        """Read every task by its id, as a fresh client, and compare status and result.

        Raises:
            SystemExit: one is missing or wrong; what was measured is void.
        """
        query = f"SELECT id, status, output FROM {self.table} WHERE id = ANY ($1::text[])"
        right, connection = 0, await asyncpg.connect(self.settings.postgres.dsn)
        expected = json.loads(self.work.output)
        for start in range(0, len(ids), _CHUNK_IDS):
            rows = await connection.fetch(query, ids[start : start + _CHUNK_IDS])
            right += sum(
                row["status"] == "completed" and json.loads(row["output"]) == expected
                for row in rows
            )
        await connection.close()
        if right != len(ids):
            raise SystemExit(f"void: {self.engine} has {right} right results of {len(ids)}")


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
    work: Work = TWO_STEPS,
    workers: int = 1,
    template: str | None = None,
    before: Callable[[Deployment], Awaitable[None]] | None = None,
    variables: Mapping[str, str] | None = None,
) -> AsyncIterator[Deployment]:
    """Start an engine's processes, which need some seconds more until they are ready.

    Args:
        engine: one of the names above.
        kafka: gets topics for this engine.
        postgres: gets a database for this engine.
        folder: for logs.
        work: what it will have to do.
        workers: processes for each step; of the orchestrator only.
        template: the DSN of a database to begin with a copy of; None: an empty one.
        before: called before the processes are started.
        variables: further ones of the environment of its processes.

    Raises:
        SystemExit: a process ended on its own; what was measured is void.
    """
    environment = {
        **DEV_DEFAULTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "ORCH_POSTGRES_DSN": await a_database(postgres.dsn, template),
        "ORCH_TOPICS_PREFIX": f"{uuid.uuid4().hex[:8]}.",
        "ORCH_PIPELINES_DIR": str(work.folder),
        "ORCH_SERVICES_EXTRA": ",".join(f"{name}={at}" for name, at in SERVICES.items()),
        "ORCH_LOG_LEVEL": "warning",
        **(variables or {}),
    }
    settings = load_settings(environment)
    async with Admin(settings.kafka) as admin:
        await admin.apply(topic_table(settings, work.pipelines))
    await migrate_up(settings.postgres.dsn)
    if engine not in _WITH_OUR_TABLES:
        await execute(settings.postgres.dsn, CREATE_TABLE)
    children = [
        Child(
            name,
            command,
            env={**os.environ, **environment},
            log_path=folder / f"{settings.topics.prefix}{name}.log",
        )
        for name, command in _commands(engine, settings, work, workers).items()
    ]
    servers = {"kafka": kafka.pid or 0, "postgres": postgres.pid or 0}
    supervisor = Supervisor(children)
    deployment = Deployment(engine, work, settings, supervisor, children, servers)
    if before is not None:
        await before(deployment)
    async with supervisor:
        yield deployment
        restarts = {name: n for name, n in supervisor.restarts.items() if n}
        if restarts.keys() - deployment.killed:
            raise SystemExit(f"void: {engine} had to be restarted: {restarts}")


def _commands(engine: str, settings: Settings, work: Work, workers: int) -> dict[str, list[str]]:
    python = [sys.executable, "-m"]
    if engine == OURS:
        pipeline = work.pipelines.get(TYPE)
        steps = [f"step.{step.name}" for step in pipeline.steps] if pipeline else []
        roles = {"router": "router", **{step: step for step in steps}, "sink": "sink"}
        roles |= {f"{step}-{n}": step for step in steps for n in range(2, workers + 1)}
        return {name: [*python, "orchestrator", "worker", role] for name, role in roles.items()}
    module, *options = _CHAINS[engine]
    places = [settings.kafka.bootstrap, settings.topics.prefix, settings.postgres.dsn]
    return {
        f"{engine.split(maxsplit=1)[0]} {role}": [*python, module, role, *places, *options]
        for role in (FAIR_ROLES if engine == FAIR else _ROLES)
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
