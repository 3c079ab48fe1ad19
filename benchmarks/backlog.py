"""What a large backlog costs: the rate and the memory, beside those of a small one.

All tasks are in ``task-created`` before the processes start. The rate counts from the first
thousandth of the tasks to the last, so that the start of the processes does not. Memory is
sampled all the time, that of the servers not; it is flat when a process never holds much more
than it held after a tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from benchmarks.harness.arrivals import create
from benchmarks.harness.deployment import Deployment, deployed, running_servers
from benchmarks.harness.figures import PACKAGES, record
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.names import OURS
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres

_POLLS = 200
"""About so often the rows are counted, whatever their number."""
_LEAST_RATE = 100


@dataclass(slots=True)
class Watch:
    """What was seen of a drain while it ran."""

    tasks: int
    seen: list[tuple[float, int]] = field(default_factory=list)
    """Seconds of a monotonic clock, and completed tasks."""
    memory: list[Mapping[str, float]] = field(default_factory=list)
    """MiB of each process, at the same times."""

    def rate(self) -> float:
        """Tasks/s from the first thousandth on."""
        first = next(pair for pair in self.seen if pair[1] >= self.tasks / 1000)
        last = self.seen[-1]
        return (last[1] - first[1]) / (last[0] - first[0])

    def peak_mib(self) -> dict[str, float]:
        """The largest memory of each process."""
        return {name: max(m[name] for m in self.memory) for name in self.memory[0]}

    def after_tenth(self) -> dict[str, float]:
        """The largest memory of each process until a tenth of the tasks was completed."""
        pairs = zip(self.memory, self.seen, strict=True)
        until = [memory for memory, (_, done) in pairs if done <= self.tasks / 10]
        return {name: max(m[name] for m in until) for name in self.memory[0]}


async def drain(
    tasks: int, kafka: EmbeddedKafka, postgres: EmbeddedPostgres, folder: Path
) -> Watch:
    """Drain a backlog of so many tasks by one process of each role."""
    watch, ids = Watch(tasks), list[str]()

    async def before(at: Deployment) -> None:
        ids.extend(await create(at, tasks))

    async with deployed(OURS, kafka, postgres, folder, before=before) as at:

        def look(completed: int) -> None:
            watch.seen.append((time.perf_counter(), completed))
            watch.memory.append(at.memory())

        connection = await asyncpg.connect(at.settings.postgres.dsn)
        poll_s = max(0.25, tasks / 1000 / _POLLS)
        most_s = 60 + tasks / _LEAST_RATE
        await at.until_completed(connection, tasks, most_s, poll_s=poll_s, look=look)
        await connection.close()
        await at.verify(ids)
    return watch


async def main(given: argparse.Namespace, folder: Path) -> None:
    print_machine(*PACKAGES)
    head = ["backlog", "tasks/s", "process", "after a tenth", "peak"]
    rows, watches = [], []
    async with running_servers(folder) as (kafka, postgres):
        for tasks in (given.small, given.large):
            watch = await drain(tasks, kafka, postgres, folder)
            watches.append(watch)
            tenth, peak = watch.after_tenth(), watch.peak_mib()
            for name in peak:
                cells = [f"{tasks:,}", f"{watch.rate():,.0f}", name]
                rows.append([*cells, f"{tenth[name]:.0f} MiB", f"{peak[name]:.0f} MiB"])
                print("  ".join(f"{cell:>18}" for cell in rows[-1]), flush=True)
    small, large = watches
    tenth, peak = large.after_tenth(), large.peak_mib()
    figures = {
        "head": head,
        "rows": rows,
        "tasks": given.large,
        "rate_ratio": large.rate() / small.rate(),
        "peak_mib": max(peak.values()),
        "rss_growth": max(peak[name] / tenth[name] for name in peak),
    }
    print(
        f"\n{figures['rate_ratio']:.0%} of the rate at {given.small:,}; largest process "
        f"{figures['peak_mib']:.0f} MiB; {figures['rss_growth']:.2f} x the memory after a tenth"
    )
    if given.record:
        record("backlog", figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--record", action="store_true", help="write benchmarks/figures")
    arguments = parser.parse_args()
    with bench_folder() as folder:
        asyncio.run(main(arguments, folder))
