"""What a task costs each part, and what more partitions and more workers give: for docs/sizing.md.

Drains as in ``benchmarks.drain``, of two-step tasks without work of their own, with other numbers
of partitions and of processes for each step. Beside the rate stand the CPU seconds of each process,
and the bytes that a task leaves on the broker's disk, in Postgres' write-ahead log and in its
tables. All runs share one machine, so a rate ends where its cores do: the sum of CPU seconds says
how far it could go on more of them.

    python -m benchmarks.scale
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from benchmarks.harness.arrivals import create
from benchmarks.harness.at_once import make_ready
from benchmarks.harness.deployment import Deployment, deployed, running_servers
from benchmarks.harness.figures import PACKAGES
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.names import OURS
from benchmarks.harness.processes import cpu_s
from benchmarks.harness.ready import is_ready
from benchmarks.harness.workload import TWO_STEPS
from orchestrator.layout import topic_table
from orchestrator.local.dev.system import DEV_DEFAULTS
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.ports import free_ports
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.local.embedded.process import Child
from orchestrator.settings import load_settings
from streams.kafka.admin import Admin

_END_S = 600.0
_POLL_S = 0.1
_READY_S = 120.0
_DAY_MS = 86_400_000
VARIANTS = ((1, 1), (4, 1), (4, 2), (12, 1), (12, 2))
"""Partitions, and processes for each step."""
_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
_ROWS = "SELECT pg_database_size(current_database())"


@dataclass(frozen=True, slots=True)
class Cost:
    """One drain."""

    rate: float
    """Tasks a second."""
    cpu: dict[str, float]
    """CPU seconds for 1,000 tasks, by role."""
    log_bytes: float
    """On the broker's disk, for a task; one copy."""
    kept_bytes: float
    """On the broker's disk in the long run, for each task a day, by the retention of each topic."""
    wal_bytes: float
    row_bytes: float
    follow_s: float
    """CPU seconds in which a replica of the service reads the log of 1,000 tasks."""


async def drained(
    partitions: int,
    workers: int,
    tasks: int,
    kafka: EmbeddedKafka,
    postgres: EmbeddedPostgres,
    folder: Path,
) -> Cost:
    variables = {"ORCH_TOPICS_PARTITIONS": str(partitions)}
    async with deployed(
        OURS, kafka, postgres, folder, work=TWO_STEPS, workers=workers, variables=variables
    ) as at:
        connection = await asyncpg.connect(at.settings.postgres.dsn)
        ids = await make_ready(at, connection)
        at.pause()
        sizes = [await connection.fetchval(_WAL), await connection.fetchval(_ROWS)]
        logs = bytes_in(folder / "kafka")
        ids += await create(at, tasks)
        before, began_s = at.cpu(), time.perf_counter()
        at.resume()
        await at.until_completed(connection, len(ids), _END_S, poll_s=_POLL_S)
        seconds, after = time.perf_counter() - began_s, at.cpu()
        log_bytes = (bytes_in(folder / "kafka") - logs) / tasks
        kept_bytes = steady_bytes(at, folder / "kafka", len(ids))
        wal, rows = await connection.fetchval(_WAL), await connection.fetchval(_ROWS)
        await connection.close()
        await at.verify(ids)
        follow_s = await followed(at, folder, variables)
    cpu: dict[str, float] = {}
    for name, value in after.items():
        role = name.split("-")[0]
        cpu[role] = cpu.get(role, 0.0) + (value - before[name]) / tasks * 1000
    return Cost(
        rate=tasks / seconds,
        cpu=cpu,
        log_bytes=log_bytes,
        kept_bytes=kept_bytes,
        wal_bytes=(wal - sizes[0]) / tasks,
        row_bytes=(rows - sizes[1]) / tasks,
        follow_s=follow_s / tasks * 1000,
    )


async def followed(at: Deployment, folder: Path, variables: Mapping[str, str]) -> float:
    """The CPU seconds that a replica of the service needs to read this log, beyond its start."""
    spent = []
    for prefix in (f"empty-{at.settings.topics.partitions}.", at.settings.topics.prefix):
        grpc_port, http_port = free_ports(2)
        environment = {
            **DEV_DEFAULTS,
            **variables,
            "ORCH_KAFKA_BOOTSTRAP": at.settings.kafka.bootstrap,
            "ORCH_POSTGRES_DSN": at.settings.postgres.dsn,
            "ORCH_TOPICS_PREFIX": prefix,
            "ORCH_PIPELINES_DIR": str(at.work.folder),
            "ORCH_API_GRPC_PORT": str(grpc_port),
            "ORCH_API_HTTP_PORT": str(http_port),
            "ORCH_LOG_LEVEL": "warning",
        }
        settings = load_settings(environment)
        async with Admin(settings.kafka) as admin:
            await admin.apply(topic_table(settings, at.work.pipelines))
        replica = Child(
            "serve",
            [sys.executable, "-m", "orchestrator", "serve"],
            env={**os.environ, **environment},
            log_path=folder / f"{prefix}serve.log",
        )
        replica.start()
        async with asyncio.timeout(_READY_S), httpx.AsyncClient() as client:
            while not await is_ready(client, f"127.0.0.1:{http_port}"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        spent.append(cpu_s(replica.pid or 0))
        await replica.stop(10)
    return spent[1] - spent[0]


def bytes_in(folder: Path) -> int:
    """What the files of a folder hold; a broker makes files larger in advance."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*.log"))


def steady_bytes(at: Deployment, folder: Path, tasks: int) -> float:
    """What one task a day keeps on the disk, one copy; compacted topics are left out."""
    kept = 0.0
    for topic in topic_table(at.settings, at.work.pipelines):
        if topic.retention_ms is not None:
            size = sum(bytes_in(place) for place in folder.rglob(f"{topic.name}-[0-9]*"))
            kept += size / tasks * topic.retention_ms / _DAY_MS
    return kept


def show(partitions: int, workers: int, runs: Sequence[Cost]) -> None:
    rates = [run.rate for run in runs]
    median = sorted(runs, key=lambda run: run.rate)[len(runs) // 2]
    parts = ", ".join(f"{role} {seconds:.2f}" for role, seconds in median.cpu.items())
    print(
        f"{partitions:2} partitions, {workers} for each step: {statistics.median(rates):4.0f} "
        f"tasks/s ({min(rates):.0f} to {max(rates):.0f}); CPU s for 1,000 tasks: "
        f"{sum(median.cpu.values()):.2f} ({parts}); bytes a task: {median.log_bytes:.0f} in logs "
        f"({median.kept_bytes / 1024:.0f} KiB kept for each task a day), "
        f"{median.wal_bytes:.0f} in the write-ahead log, {median.row_bytes:.0f} in tables; "
        f"a replica of the service: {statistics.median(run.follow_s for run in runs):.2f} CPU s",
        flush=True,
    )


async def main(tasks: int, rounds: int, folder: Path) -> None:
    print_machine(*PACKAGES)
    print(f"{tasks} tasks, {rounds} rounds, interleaved", flush=True)
    runs: dict[tuple[int, int], list[Cost]] = {variant: [] for variant in VARIANTS}
    async with running_servers(folder) as (kafka, postgres):
        for _ in range(rounds):
            for partitions, workers in VARIANTS:
                cost = await drained(partitions, workers, tasks, kafka, postgres, folder)
                runs[partitions, workers].append(cost)
    for (partitions, workers), found in runs.items():
        show(partitions, workers, found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with bench_folder() as folder:
        asyncio.run(main(given.tasks, given.rounds, folder))
