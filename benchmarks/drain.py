"""How fast a backlog becomes durable rows, beside the raw chain in the same run.

Two-step no-op tasks: 256 bytes of input, 128 after step 1, 256 as result. All tasks are in
``task-created`` before the first process starts; the clock runs from that start until the
last finished row is in Postgres. Both engines write the same number of Kafka records for a
task (8), use the same codec, and write rows by ``UNNEST``. Afterwards every row's result is
compared; a loss or a wrong result voids the run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from benchmarks.machine import print_machine
from benchmarks.processes import cpu_s, rss_mib
from benchmarks.raw_chain import CREATE_TABLE, STEPS, TABLE, output_of
from orchestrator.dev.supervisor import Supervisor
from orchestrator.dev.system import DEV_DEFAULTS
from orchestrator.embedded.kafka import EmbeddedKafka
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.embedded.process import Child
from orchestrator.layout import topic_table
from orchestrator.settings import Settings, load_settings
from schemas.codec import encode
from schemas.records import Json, Millis, TaskCreated, TaskId
from schemas.topics import Topics
from sinks.migrate import migrate_up
from streams.admin import Admin
from streams.partitioner import partition_of
from streams.publisher import Outgoing, Publisher
from tasks.pipeline_file import load_pipelines

_PIPELINES = Path("benchmarks/pipelines")
_TEXTS = {path.name: path.read_text("utf-8") for path in _PIPELINES.glob("*.yaml")}
_CHUNK = 5_000
_END_S = 600.0
_POLL_S = 0.1
ENGINES = ("raw chain", "orchestrator")


@dataclass(frozen=True, slots=True)
class Run:
    """What one drain took."""

    seconds: float
    cpu: Mapping[str, float]
    """CPU seconds by process, the broker's and Postgres' included."""
    peak_mib: float

    @property
    def cpu_s(self) -> float:
        return sum(self.cpu.values())


async def drain(
    engine: str, tasks: int, kafka: EmbeddedKafka, postgres: EmbeddedPostgres, folder: Path
) -> Run:
    """One engine, with topics and a database of its own."""
    environment = {
        **DEV_DEFAULTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "ORCH_POSTGRES_DSN": await _database(postgres.dsn),
        "ORCH_TOPICS_PREFIX": f"{uuid.uuid4().hex[:8]}.",
        "ORCH_PIPELINES_DIR": str(_PIPELINES),
        "ORCH_SERVICES_EXTRA": "noop=python://benchmarks.noop:answer",
        "ORCH_LOG_LEVEL": "warning",
    }
    settings = load_settings(environment)
    pipelines = load_pipelines(_TEXTS)
    async with Admin(settings.kafka) as admin:
        await admin.apply(topic_table(settings, pipelines))
    await _publish(settings, tasks)
    await migrate_up(settings.postgres.dsn)
    connection = await asyncpg.connect(settings.postgres.dsn)
    await connection.execute(CREATE_TABLE)
    children = _children(engine, settings, environment, folder)
    servers = {"kafka": kafka.pid, "postgres": postgres.pid}
    before = {name: cpu_s(pid) for name, pid in servers.items() if pid}
    began = time.perf_counter()
    async with Supervisor(children) as supervisor:
        peak_mib = await _until_done(engine, tasks, connection, children)
        seconds = time.perf_counter() - began
        cpu = {child.name: cpu_s(child.pid or 0) for child in children}
        cpu |= {name: cpu_s(pid) - before[name] for name, pid in servers.items() if pid}
        assert not any(supervisor.restarts.values()), supervisor.restarts
    await _check(engine, tasks, connection)
    await connection.close()
    return Run(seconds, cpu, peak_mib)


async def _publish(settings: Settings, tasks: int) -> None:
    topics, partitions = Topics(settings.topics), settings.topics.partitions
    publisher = Publisher(settings.kafka, client_id="generator")
    await publisher.open()
    for start in range(0, tasks, _CHUNK):
        records = []
        for _ in range(start, min(start + _CHUNK, tasks)):
            task = TaskCreated(
                task_id=TaskId(f"task_{uuid.uuid4()}"),
                tenant_id="bench",
                type="bench",
                input=Json('{"payload":"' + "x" * 242 + '"}'),
                timeout_ms=3_600_000,
                created_at=Millis(time.time_ns() // 1_000_000),
            )
            key = task.task_id.encode()
            partition = partition_of(key, partitions)
            records.append(
                Outgoing(
                    topic=topics.task_created, partition=partition, key=key, value=encode(task)
                )
            )
        await publisher.publish(records)
    await publisher.close()


def _children(
    engine: str, settings: Settings, environment: Mapping[str, str], folder: Path
) -> Sequence[Child]:
    python, prefix = sys.executable, settings.topics.prefix
    if engine == "orchestrator":
        names = ["router", *(f"step.{step}" for step in STEPS), "sink"]
        commands = {name: [python, "-m", "orchestrator", "worker", name] for name in names}
    else:
        places = [settings.kafka.bootstrap, prefix, settings.postgres.dsn]
        commands = {
            f"raw {role}": [python, "-m", "benchmarks.raw_chain", role, *places]
            for role in ("router", "worker", "sink")
        }
    return [
        Child(
            name,
            command,
            env={**os.environ, **environment},
            log_path=folder / f"{prefix}{name}.log",
        )
        for name, command in commands.items()
    ]


async def _until_done(
    engine: str, tasks: int, connection: asyncpg.Connection, children: Sequence[Child]
) -> float:
    """Wait for the last row; return the largest resident memory of one process, in MiB."""
    peak_mib = 0.0
    count = f"SELECT count(*) FROM {_table(engine)} WHERE status = 'completed'"
    async with asyncio.timeout(_END_S):
        while await connection.fetchval(count) < tasks:
            peak_mib = max(peak_mib, *(rss_mib(child.pid or 0) for child in children))
            await asyncio.sleep(_POLL_S)
    return peak_mib


async def _check(engine: str, tasks: int, connection: asyncpg.Connection) -> None:
    right = await connection.fetchval(
        f"SELECT count(DISTINCT id) FROM {_table(engine)}"
        " WHERE status = 'completed' AND output = $1::jsonb",
        output_of(STEPS[1]),
    )
    if right != tasks:
        raise SystemExit(f"void: {engine} has {right} right results of {tasks}")


def _table(engine: str) -> str:
    return "ai_orchestrator.tasks" if engine == "orchestrator" else TABLE


async def _database(server_dsn: str) -> str:
    name = f"drain_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(server_dsn)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return server_dsn.rsplit("/", 1)[0] + f"/{name}"


async def main(tasks: int, rounds: int, folder: Path) -> None:
    print_machine("aiokafka", "asyncpg", "fastavro", "faust-streaming", "msgspec")
    print(f"{tasks} tasks, {rounds} rounds, interleaved; rates include the start of processes")
    runs: dict[str, list[Run]] = {engine: [] for engine in ENGINES}
    kafka = EmbeddedKafka(folder / "kafka")
    postgres = EmbeddedPostgres(folder / "postgres")
    await kafka.start()
    await postgres.start()
    try:
        for _ in range(rounds):
            for engine in ENGINES:
                runs[engine].append(await drain(engine, tasks, kafka, postgres, folder))
    finally:
        await kafka.kill()
        await postgres.stop()
    for engine, found in runs.items():
        _show(engine, tasks, found)
    raw, ours = (statistics.median(run.seconds for run in runs[engine]) for engine in ENGINES)
    print(f"\nratio: {raw / ours:.0%} of the raw chain's rate")


def _show(engine: str, tasks: int, runs: Sequence[Run]) -> None:
    rates = sorted(tasks / run.seconds for run in runs)
    cpu = statistics.median(run.cpu_s / tasks * 1000 for run in runs)
    print(
        f"\n{engine}: {statistics.median(rates):.0f} tasks/s (min {rates[0]:.0f}, "
        f"max {rates[-1]:.0f}); {cpu:.2f} CPU s for 1,000 tasks; "
        f"peak {max(run.peak_mib for run in runs):.0f} MiB in one process"
    )
    for name in runs[-1].cpu:
        each = statistics.median(run.cpu[name] / tasks * 1000 for run in runs)
        print(f"  {name:18} {each:6.3f} CPU s for 1,000 tasks")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        # Postgres' account has to pass through when root runs this.
        Path(name).chmod(0o711)
        asyncio.run(main(given.tasks, given.rounds, Path(name)))
