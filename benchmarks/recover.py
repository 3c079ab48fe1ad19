"""What a kill costs while a backlog is drained: one of two workers, the sink, the router.

Each drain has two workers for each step. When a quarter of the tasks are done, which leaves
10,000 and more in flight, a process gets SIGKILL. A worker stays dead, so the other one has to
take its partitions over; the sink and the router are started again by their supervisor.
*First progress* is, counted from the kill, the end of the longest time in which no task of one
partition was completed. Commit times of rows say what was done when.
Every task is read by its id afterwards and its result compared.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from benchmarks.harness.arrivals import create
from benchmarks.harness.at_once import make_ready
from benchmarks.harness.commit_clock import COMMITTED_AT
from benchmarks.harness.deployment import Deployment, deployed, running_servers
from benchmarks.harness.figures import PACKAGES, record
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.names import OURS
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from streams.kafka.partitioner import partition_of

_END_S = 300.0
_NOTHING = "nothing"
_WORKER = "step.noop_second"
_KILLS = (_NOTHING, _WORKER, "sink", "router")


@dataclass(frozen=True, slots=True)
class Run:
    """One drain, and the kill in it."""

    killed: str
    in_flight: int
    progress_s: float
    """Seconds from the kill; 0 without one."""
    drained_s: float
    session_timeout_s: float


async def measure(
    killed: str, tasks: int, kafka: EmbeddedKafka, postgres: EmbeddedPostgres, folder: Path
) -> Run:
    """One drain with two workers of each step."""
    async with deployed(OURS, kafka, postgres, folder, workers=2) as at:
        connection = await asyncpg.connect(at.settings.postgres.dsn)
        warm = await make_ready(at, connection)
        at.pause()
        ids = await create(at, tasks)
        began = time.time()
        at.resume()
        await at.until_completed(connection, len(warm) + tasks // 4, _END_S, poll_s=0.1)
        killed_at, in_flight = time.time(), 0
        if killed != _NOTHING:
            in_flight = len(warm) + tasks - await at.completed(connection)
            killed_at = _kill(at, killed)
        await at.until_completed(connection, len(warm) + tasks, _END_S)
        times = await _times(at, connection, ids)
        await connection.close()
        await at.verify(warm + ids)
        return Run(
            killed,
            in_flight,
            0.0 if killed == _NOTHING else progress_s(times, killed_at),
            max(itertools.chain(*times)) - began,
            at.settings.kafka.session_timeout_s,
        )


def _kill(at: Deployment, name: str) -> float:
    """SIGKILL; a worker stays dead. The time of the kill."""
    if name == _WORKER:
        at.supervisor.hold(name)
    at.killed.add(name)
    child = at.supervisor.children[name]
    if child.pid is None:
        raise SystemExit(f"void: {name} was not running")
    os.kill(child.pid, signal.SIGKILL)
    return time.time()


async def _times(
    at: Deployment, connection: asyncpg.Connection, ids: Sequence[str]
) -> Sequence[Sequence[float]]:
    """Unix seconds at which the tasks of each partition were completed, ascending."""
    rows = await connection.fetch(
        f"SELECT id, {COMMITTED_AT} AS at FROM {at.table} WHERE id = ANY ($1::text[])", ids
    )
    found: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        partition = partition_of(row["id"].encode(), at.settings.topics.partitions)
        found[partition].append(row["at"])
    return [sorted(times) for times in found.values()]


def progress_s(times: Sequence[Sequence[float]], killed_at: float) -> float:
    """Seconds from the kill until the partition that stood still the longest went on."""
    gaps = [(0.0, killed_at)]
    for of_partition in times:
        after = [killed_at, *(at for at in of_partition if at > killed_at)]
        gaps += [(end - start, end) for start, end in itertools.pairwise(after)]
    return max(gaps)[1] - killed_at


async def main(given: argparse.Namespace, folder: Path) -> None:
    print_machine(*PACKAGES)
    async with running_servers(folder, commit_timestamps=True) as (kafka, postgres):
        runs = [await measure(kill, given.tasks, kafka, postgres, folder) for kill in _KILLS]
    calm, *killed = runs
    head = ["killed", "in flight", "first progress", "drained after", "later than without"]
    rows = [["nothing", "", "", f"{calm.drained_s:.1f} s", ""]]
    for run in killed:
        later_s = run.drained_s - calm.drained_s
        cells = [run.killed, f"{run.in_flight:,}", f"{run.progress_s:.1f} s"]
        rows.append([*cells, f"{run.drained_s:.1f} s", f"{later_s:.1f} s"])
    for row in (head, *rows):
        print("  ".join(f"{cell:>18}" for cell in row))
    worker = killed[0]
    print(f"\nsession timeout {worker.session_timeout_s:.0f} s")
    if given.record:
        figures = {
            "head": head,
            "rows": rows,
            "tasks": given.tasks,
            "session_timeout_s": worker.session_timeout_s,
            "progress_after_session_s": worker.progress_s - worker.session_timeout_s,
            "drained_later_s": worker.drained_s - calm.drained_s,
        }
        record("recover", figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--record", action="store_true", help="write benchmarks/figures")
    arguments = parser.parse_args()
    with bench_folder() as folder:
        asyncio.run(main(arguments, folder))
