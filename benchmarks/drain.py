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
from benchmarks.harness.deployment import deployed, running_servers
from benchmarks.harness.figures import PACKAGES, load, record
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.names import ENGINES, FAIR, FAUST, FAUST_TUNED, OURS, RAW
from benchmarks.harness.regression import WARN_ABOVE, regression
from benchmarks.harness.run import Run, figures_of
from benchmarks.harness.workload import TWO_STEPS, VARIANTS, Work
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres

_END_S = 600.0
_POLL_S = 0.1
_HOLD_S = 5.0
"""A process that stands still for its session timeout, 10 s, would lose its partitions."""
_SMALL_TASKS = 3_000
_SMALL_ROUNDS = {RAW: 3, FAIR: 1, OURS: 2}
"""All else is compared with the raw chain, whose small runs differ the most."""


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
    work: Work, tasks: int, rounds: Mapping[str, int], folder: Path
) -> Mapping[str, Sequence[Run]]:
    """Each engine so many times, in turn, on the same servers."""
    runs: dict[str, list[Run]] = {engine: [] for engine in rounds}
    async with running_servers(folder) as (kafka, postgres):
        for number in range(max(rounds.values())):
            for engine in [engine for engine, most in rounds.items() if number < most]:
                runs[engine].append(await drain(engine, work, tasks, kafka, postgres, folder))
    return runs


def engines_for(work: Work) -> Sequence[str]:
    """The engines that can do that work."""
    if work is TWO_STEPS:
        return (*ENGINES, FAUST, FAUST_TUNED)
    return ENGINES if work.raw else (OURS,)


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


def _ratio(engines: Mapping[str, Mapping[str, Any]], engine: str) -> float:
    return float(engines[OURS]["rate"]["median"] / engines[engine]["rate"]["median"])


def compare(figures: Mapping[str, Any]) -> None:
    """Print the CPU time of a small run beside that of the committed one; only warn."""
    kept = load("small")
    found = None if kept is None else regression(figures, kept["figures"])
    if found is None:
        return
    print(
        f"\n{found.found_s:.2f} CPU s for 1,000 tasks, {found.now:.1f} x the raw chain's; by the "
        f"committed {found.kept:.1f} x it would be {found.expected_s:.2f} s: {found.worse_by:+.0%}"
    )
    if found.warns:
        print(f"warning: a drain takes over {WARN_ABOVE:.0%} more CPU time than the committed one")


async def main(given: argparse.Namespace, work: Work, folder: Path) -> None:
    print_machine(*PACKAGES)
    tasks = given.tasks or (_SMALL_TASKS if given.small else work.tasks)
    rounds = _SMALL_ROUNDS if given.small else dict.fromkeys(engines_for(work), given.rounds)
    most = max(rounds.values())
    print(f"{work.name}: {tasks} tasks, {most} rounds, interleaved", flush=True)
    runs = await measure(work, tasks, rounds, folder)
    engines = {engine: figures_of(found) for engine, found in runs.items()}
    figures = {"tasks": tasks, "rounds": most, "engines": engines}
    show(engines)
    if given.small:
        compare(figures)
    if given.record:
        variant = "drain" if work is TWO_STEPS else f"drain-{work.name}"
        name = "small" if given.small else variant
        record(name, figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--variant", choices=sorted(VARIANTS), help="other work than two steps")
    parser.add_argument("--tasks", type=int, help="without, as many as make some ten seconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--small", action="store_true", help="a short one, beside the committed CPU time"
    )
    parser.add_argument("--record", action="store_true", help="write benchmarks/figures")
    arguments = parser.parse_args()
    with bench_folder() as folder:
        chosen = VARIANTS[arguments.variant] if arguments.variant else TWO_STEPS
        asyncio.run(main(arguments, chosen, folder))
