"""How long a task takes at a steady rate, beside the raw chain and the fair floor in the same run.

Open loop: tasks are created at the times of a Poisson process, by a process of its own, the
same times for all engines. A task's clock runs from its scheduled time until the commit of
the row that says it is completed (see ``commit_clock.py``). Each run starts the engine anew,
sends some tasks and waits for them, and then begins; the first seconds do not count. The rates
go up until half of the tasks need more than a second, or more than a second's tasks are in
flight when the last was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg

from benchmarks.harness.at_once import make_ready
from benchmarks.harness.commit_clock import COMMITTED_AT, check_commit_clock
from benchmarks.harness.deployment import Deployment, deployed, running_servers
from benchmarks.harness.figures import PACKAGES, record
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.names import ENGINES, FAIR, OURS, RAW
from benchmarks.harness.quantile import quantile
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.local.embedded.process import Child

_RATES = (50, 200)
"""What the bars are about; each is measured ``--rounds`` times, interleaved."""
_SETTLE_S = 3.0
"""From the first arrival on: compilers and connections of processes that are new."""
_DRAIN_S = 60.0
_P50_MAX_MS = 1_000.0
_LEAST_TASKS = 1_500
"""So that p99 is not the word of a few tasks; low rates run longer for it."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one engine did at one rate."""

    rate: int
    tasks: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    late_p99_ms: float
    """By how much the generator sent late; it is part of the latencies."""
    in_flight: int
    """Tasks without a final row when the last one was sent."""
    generator_cpu_s: float
    cpu_s: float
    """CPU seconds for 1,000 tasks of all other processes."""
    cpu: Mapping[str, float]
    """The same of each process."""

    @property
    def end(self) -> str:
        """Why the rates go no further; empty if they do."""
        if self.p50_ms > _P50_MAX_MS:
            return "p50 above 1 s"
        return f"{self.in_flight} in flight at the end" if self.in_flight > self.rate else ""


async def measure(at: Deployment, rate: int, seconds: float, folder: Path) -> Run:
    """Send at a rate to an engine that was just started."""
    connection = await asyncpg.connect(at.settings.postgres.dsn)
    # All processes are ready when tasks of all partitions have gone through them.
    warm = await make_ready(at, connection)
    out = folder / f"{at.settings.topics.prefix}schedule.json"
    sending_s = _SETTLE_S + max(seconds, _LEAST_TASKS / rate)
    generator = _generator(at, out, rate, sending_s)
    before = at.cpu()
    generator.start()
    if await generator.wait(_DRAIN_S + 2 * sending_s):
        raise SystemExit(f"void: the generator failed; see {generator.log_path.read_text()}")
    made = json.loads(out.read_text("utf-8"))
    scheduled: dict[str, float] = made["scheduled"]
    all_tasks = len(scheduled) + len(warm)
    in_flight = all_tasks - await at.completed(connection)
    await at.until_completed(connection, all_tasks, _DRAIN_S + in_flight / 50)
    after = at.cpu()
    await at.verify(list(scheduled))
    cpu = {name: (after[name] - before[name]) / len(scheduled) * 1000 for name in after}
    counted_from = min(scheduled.values()) + _SETTLE_S
    counted = {task_id: due for task_id, due in scheduled.items() if due >= counted_from}
    took_ms = await _latencies_ms(at, connection, counted)
    await connection.close()
    return Run(
        rate=rate,
        tasks=len(counted),
        p50_ms=quantile(took_ms, 0.5),
        p95_ms=quantile(took_ms, 0.95),
        p99_ms=quantile(took_ms, 0.99),
        max_ms=max(took_ms),
        late_p99_ms=made["late_p99_ms"],
        in_flight=in_flight,
        generator_cpu_s=made["cpu_s"],
        cpu_s=sum(cpu.values()),
        cpu=cpu,
    )


async def _latencies_ms(
    at: Deployment, connection: asyncpg.Connection, scheduled: Mapping[str, float]
) -> list[float]:
    rows = await connection.fetch(
        f"SELECT id, {COMMITTED_AT} AS at FROM {at.table} WHERE id = ANY ($1::text[])",
        list(scheduled),
    )
    took_ms = [(row["at"] - scheduled[row["id"]]) * 1000 for row in rows]
    if len(took_ms) != len(scheduled):
        raise SystemExit(f"void: {at.engine} has {len(took_ms)} rows of {len(scheduled)}")
    return took_ms


def _generator(at: Deployment, out: Path, rate: int, seconds: float) -> Child:
    words = {
        "--bootstrap": at.settings.kafka.bootstrap,
        "--prefix": at.settings.topics.prefix,
        "--partitions": at.settings.topics.partitions,
        "--rate": rate,
        "--seconds": seconds,
        "--seed": rate,
    }
    given = [str(word) for pair in words.items() for word in pair]
    command = [sys.executable, "-m", "benchmarks.harness.arrivals", str(out), *given]
    return Child("generator", command, env=os.environ, log_path=out.with_suffix(".log"))


async def climb(
    kafka: EmbeddedKafka, postgres: EmbeddedPostgres, given: argparse.Namespace, folder: Path
) -> dict[str, list[Run]]:
    """All engines at each rate, one after the other, until they are saturated."""
    found: dict[str, list[Run]] = {engine: [] for engine in ENGINES}
    rate, rates = 0, list(_RATES)
    going = list(ENGINES)
    while going and rate < given.up_to:
        rate = rates.pop(0) if rates else 2 * rate
        rounds: dict[str, list[Run]] = {engine: [] for engine in going}
        for _ in range(given.rounds if rate in _RATES else 1):
            for engine in going:
                async with deployed(engine, kafka, postgres, folder) as at:
                    rounds[engine].append(await measure(at, rate, given.seconds, folder))
                _show(engine, rounds[engine][-1])
        for engine, runs in rounds.items():
            found[engine].append(_middle(runs))
        going = [engine for engine in going if not found[engine][-1].end]
    return found


def _middle(runs: Sequence[Run]) -> Run:
    """The median of each figure; the largest of what is a maximum."""
    names = asdict(runs[0]).keys() - {"cpu"}
    columns = {name: [getattr(run, name) for run in runs] for name in names}
    middles = {name: statistics.median(values) for name, values in columns.items()}
    largest = {name: max(columns[name]) for name in ("max_ms", "late_p99_ms", "in_flight")}
    cpu = {name: statistics.median(run.cpu[name] for run in runs) for name in runs[0].cpu}
    whole = {"rate": runs[0].rate, "tasks": runs[0].tasks}
    return Run(**{**middles, **largest, **whole}, cpu=cpu)


def _show(engine: str, run: Run) -> None:
    print(
        f"{engine:13} {run.rate:5}/s  p50 {run.p50_ms:8.1f}  p95 {run.p95_ms:8.1f}"
        f"  p99 {run.p99_ms:8.1f}  max {run.max_ms:8.1f} ms"
        f"  {run.cpu_s:5.2f} CPU s for 1,000 tasks; the generator {run.generator_cpu_s:.1f} s,"
        f" late by {run.late_p99_ms:.1f} ms at p99  {run.end}",
        flush=True,
    )


async def main(given: argparse.Namespace, folder: Path) -> None:
    print_machine(*PACKAGES)
    async with running_servers(folder, commit_timestamps=True) as (kafka, postgres):
        flush_ms = await check_commit_clock(postgres.dsn)
        print(f"latency until the commit; its flush adds {flush_ms:.2f} ms, median of its own")
        found = await climb(kafka, postgres, given, folder)
    print()
    for engine in (RAW, FAIR):
        for its, ours in zip(found[engine], found[OURS], strict=False):
            print(
                f"at {its.rate}/s, of that of the {engine}: p50 {ours.p50_ms / its.p50_ms:.2f} x, "
                f"p99 {ours.p99_ms / its.p99_ms:.2f} x, CPU {ours.cpu_s / its.cpu_s:.2f} x"
            )
    if given.record:
        engines = {
            engine: [{**asdict(run), "end": run.end} for run in runs]
            for engine, runs in found.items()
        }
        record("steady", {"engines": engines, "flush_ms": flush_ms, "rounds": given.rounds})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=20, help="of sending at each rate")
    parser.add_argument("--rounds", type=int, default=2, help="at 50/s and 200/s")
    parser.add_argument("--up-to", type=int, default=12_800, help="tasks/s at the most")
    parser.add_argument("--record", action="store_true", help="keep the figures")
    with bench_folder() as folder:
        asyncio.run(main(parser.parse_args(), folder))
