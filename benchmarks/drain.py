"""How fast a backlog becomes durable rows, beside two floors in the same run.

Two-step no-op tasks: 256 bytes of input, 128 after step 1, 256 as result; or one of the
variants. The raw chain moves as many records with the same codec and writes one row a task. The
fair floor writes all that is kept here, without what makes it true (``chains/fair.py``). Plain
Faust agents do the two steps, too. An engine's processes are started, do some tasks to get ready,
and are held (SIGSTOP). All tasks are published. The clock, and that of the CPU, runs from when the
processes go on until the last finished row is in Postgres. All engines write the same number of
Kafka records for a task (8; snapshots are apart) and use the same codec. Afterwards every task is
read by its id and its result compared; a loss or a wrong result voids the run.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.harness.arrivals import create
from benchmarks.harness.at_once import make_ready
from benchmarks.harness.deployment import (
    ENGINES,
    FAUST,
    FAUST_TUNED,
    OURS,
    RAW,
    deployed,
    running_servers,
)
from benchmarks.harness.figures import PACKAGES, load, record
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.run import Run, figures_of
from benchmarks.harness.workload import TWO_STEPS, VARIANTS, Work
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres

_END_S = 600.0
_POLL_S = 0.1
_HOLD_S = 5.0
"""A process that stands still for its session timeout, 10 s, would lose its partitions."""
_SMALL_TASKS = 3_000
_WORSE = 2 / 3
"""Small runs differ by that much on a shared machine; below it is worth a look."""


async def drain(
    engine: str,
    work: Work,
    tasks: int,
    kafka: EmbeddedKafka,
    postgres: EmbeddedPostgres,
    folder: Path,
    variables: Mapping[str, str] | None = None,
) -> Run:
    """One engine, with topics and a database of its own."""
    peak_mib: dict[str, float] = {}
    async with deployed(engine, kafka, postgres, folder, work=work, variables=variables) as at:
        connection = await asyncpg.connect(at.settings.postgres.dsn)
        ids = await make_ready(at, connection)
        at.pause()
        paused_at = time.perf_counter()
        ids += await create(at, tasks)
        before, began = at.cpu(), time.perf_counter()
        at.resume()
        if began - paused_at > _HOLD_S:
            raise SystemExit(f"void: publishing took {began - paused_at:.1f} s")
        await at.until_completed(
            connection, len(ids), _END_S, poll_s=_POLL_S, look=lambda _: at.raise_peaks(peak_mib)
        )
        seconds, after = time.perf_counter() - began, at.cpu()
        await connection.close()
        await at.verify(ids)
    return Run(tasks, seconds, {name: after[name] - before[name] for name in after}, peak_mib)


async def measure(
    work: Work, tasks: int, rounds: int, folder: Path, *, faust: bool = False
) -> Mapping[str, Sequence[Run]]:
    """The engines that can do that work, in turn, on the same servers."""
    engines = [*(ENGINES if work.raw else (OURS,)), *((FAUST, FAUST_TUNED) if faust else ())]
    runs: dict[str, list[Run]] = {engine: [] for engine in engines}
    async with running_servers(folder) as (kafka, postgres):
        for _ in range(rounds):
            for engine in engines:
                runs[engine].append(await drain(engine, work, tasks, kafka, postgres, folder))
    return runs


def show(engines: Mapping[str, Mapping[str, Any]]) -> None:
    """Print each engine's figures, and our rate and CPU time as multiples of theirs."""
    for engine, found in engines.items():
        rate = found["rate"]
        print(
            f"\n{engine}: {rate['median']:.0f} tasks/s (min {rate['min']:.0f}, "
            f"max {rate['max']:.0f}); {found['cpu_s']:.2f} CPU s for 1,000 tasks; "
            f"peak {max(found['peak_mib'].values()):.0f} MiB in one process"
        )
        for name, each in found["cpu"].items():
            print(f"  {name:18} {each:6.3f} CPU s for 1,000 tasks")
    print()
    for engine, found in engines.items():
        if engine != OURS:
            rate, cpu = _ratio(engines, engine), engines[OURS]["cpu_s"] / found["cpu_s"]
            print(f"ratio: {rate:.2f} x the rate of {engine}, {cpu:.2f} x its CPU")


def _ratio(engines: Mapping[str, Mapping[str, Any]], engine: str = RAW) -> float:
    return float(engines[OURS]["rate"]["median"] / engines[engine]["rate"]["median"])


def compare(engines: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the ratio of a small run beside that of the committed one; only warn."""
    kept = load("small")
    if kept is None:
        return
    ratio, baseline = _ratio(engines), _ratio(kept["figures"]["engines"])
    print(f"the committed baseline: {baseline:.0%}, so this is {ratio / baseline:.2f} x it")
    if ratio < baseline * _WORSE:
        print("warning: a drain is slower than the committed baseline by more than a third")


async def main(given: argparse.Namespace, work: Work, folder: Path) -> None:
    print_machine(*PACKAGES)
    tasks = given.tasks or (_SMALL_TASKS if given.small else work.tasks)
    rounds = 1 if given.small else given.rounds
    print(f"{work.name}: {tasks} tasks, {rounds} rounds, interleaved", flush=True)
    faust = work is TWO_STEPS and not given.small
    runs = await measure(work, tasks, rounds, folder, faust=faust)
    engines = {engine: figures_of(found) for engine, found in runs.items()}
    show(engines)
    if given.small:
        compare(engines)
    if given.record:
        variant = "drain" if work is TWO_STEPS else f"drain-{work.name}"
        name = "small" if given.small else variant
        record(name, {"tasks": tasks, "rounds": rounds, "engines": engines})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--variant", choices=sorted(VARIANTS), help="other work than two steps")
    parser.add_argument("--tasks", type=int, help="without, as many as make some ten seconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="one short round, for a first look")
    parser.add_argument("--record", action="store_true", help="write benchmarks/figures")
    arguments = parser.parse_args()
    with bench_folder() as folder:
        chosen = VARIANTS[arguments.variant] if arguments.variant else TWO_STEPS
        asyncio.run(main(arguments, chosen, folder))
