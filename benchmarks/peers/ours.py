"""The orchestrator, in the same run as its peers and by the same clock."""

from __future__ import annotations

import time
from pathlib import Path

import asyncpg

from benchmarks.harness.arrivals import create
from benchmarks.harness.deployment import Deployment, deployed, running_servers
from benchmarks.harness.names import OURS
from benchmarks.harness.run import Run

NAME = OURS
TASKS = 10_000
DURABILITY = (
    "Kafka, one broker, no fsync: a kill loses nothing; a power loss loses what the kernel had not"
    " written, which replicas on other machines are for; rows in Postgres are safe"
)
_END_S = 400.0


async def repeat(tasks: int, folder: Path) -> Run:
    """One repetition, with servers of its own; the clock starts with the processes."""
    peak_mib: dict[str, float] = {}
    ids: list[str] = []
    servers_cpu: dict[str, float] = {}

    async def before(at: Deployment) -> None:
        ids.extend(await create(at, tasks))
        servers_cpu.update(at.cpu())

    async with (
        running_servers(folder) as (kafka, postgres),
        deployed(NAME, kafka, postgres, folder, before=before) as at,
    ):
        began = time.perf_counter()
        connection = await asyncpg.connect(at.settings.postgres.dsn)
        await at.until_completed(connection, tasks, _END_S, look=lambda _: at.raise_peaks(peak_mib))
        seconds, after = time.perf_counter() - began, at.cpu()
        await connection.close()
        await at.verify(ids)
    cpu = {name: after[name] - servers_cpu[name] for name in after}
    return Run(tasks, seconds, cpu, peak_mib)
