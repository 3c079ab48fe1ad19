"""What the number of finished tasks in Postgres costs: rate, point reads, lists.

For each size a database is filled with finished tasks (see ``filling.py``), of which each
measurement gets a copy. Then tasks are created at once on a running system: the rate runs from
before they are published until the commit of the last row. Reads are timed one by one, through
the store's own reader, when the system has ended. The sizes take turns.

A copy is cold, and comes right after a checkpoint: the first change of each of its pages is
read from the disk, and logged as a whole page. The tasks are so many that this does not decide.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg

from benchmarks.harness.arrivals import create
from benchmarks.harness.at_once import READY_S, rate_at_once
from benchmarks.harness.commit_clock import check_commit_clock
from benchmarks.harness.deployment import a_database, deployed, execute, name_of, running_servers
from benchmarks.harness.figures import PACKAGES, record
from benchmarks.harness.filling import TENANTS, copy_id, fill
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.names import OURS
from benchmarks.harness.quantile import quantile
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from schemas.records import TaskId
from sinks.reads.paging import NewestCursor, TaskFilter
from sinks.reads.reader import Reader
from sinks.settings import PostgresSettings

_WARM_READS = 200
_PAGE = 50


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement at one size."""

    rate: float
    """Tasks/s."""
    point_p99_ms: float
    list_p99_ms: float


@dataclass(frozen=True, slots=True)
class Size:
    """All measurements at one size."""

    rows: int
    rate_median: float
    rate_min: float
    rate_max: float
    point_p99_ms: float
    list_p99_ms: float

    @classmethod
    def of(cls, rows: int, runs: Sequence[Run]) -> Size:
        rates = [run.rate for run in runs]
        return cls(
            rows,
            statistics.median(rates),
            min(rates),
            max(rates),
            statistics.median(run.point_p99_ms for run in runs),
            statistics.median(run.list_p99_ms for run in runs),
        )


async def a_finished_task(kafka: EmbeddedKafka, postgres: EmbeddedPostgres, folder: Path) -> str:
    """A database in which one task has ended; its DSN."""
    async with deployed(OURS, kafka, postgres, folder) as at:
        dsn = at.settings.postgres.dsn
        connection = await asyncpg.connect(dsn)
        await create(at, 1)
        await at.until_completed(connection, 1, READY_S)
        await connection.close()
    return dsn


async def measure(
    filled: str,
    rows: int,
    given: argparse.Namespace,
    kafka: EmbeddedKafka,
    postgres: EmbeddedPostgres,
    folder: Path,
) -> Run:
    """A copy of a filled database, a new engine on it, then reads without the engine."""
    async with deployed(OURS, kafka, postgres, folder, template=filled) as at:
        rate = await rate_at_once(at, given.tasks)
        dsn = at.settings.postgres.dsn
    reader = Reader(PostgresSettings(dsn=dsn))
    await reader.open()
    point_ms = await point_reads(reader, rows, given.reads)
    list_ms = await lists(reader, given.reads)
    await reader.close()
    await execute(postgres.dsn, f"DROP DATABASE {name_of(dsn)} WITH (FORCE)")
    return Run(rate, quantile(point_ms, 0.99), quantile(list_ms, 0.99))


async def point_reads(reader: Reader, rows: int, count: int) -> list[float]:
    """Milliseconds of each of ``count`` reads of a task by its id."""
    draw = random.Random(rows)

    async def read() -> None:
        if await reader.task(TaskId(copy_id(draw.randint(1, rows)))) is None:
            raise SystemExit("void: a task that was written is not found")

    return await _timed(read, count)


async def lists(reader: Reader, count: int) -> list[float]:
    """Milliseconds of each of ``count`` pages of a tenant's completed tasks, first and second."""
    draw = random.Random(count)
    cursors: dict[TaskFilter, NewestCursor] = {}

    async def read() -> None:
        tenant = f"tenant_{draw.randrange(TENANTS)}"
        which = TaskFilter(tenant_id=tenant, status="completed")
        page = await reader.list_tasks(which, limit=_PAGE, after=cursors.pop(which, None))
        if len(page) == _PAGE:
            cursors[which] = NewestCursor.of(page[-1])

    return await _timed(read, count)


async def _timed(read: Callable[[], Awaitable[None]], count: int) -> list[float]:
    took_ms = []
    for _ in range(_WARM_READS + count):
        began = time.perf_counter()
        await read()
        took_ms.append((time.perf_counter() - began) * 1000)
    return took_ms[_WARM_READS:]


async def main(given: argparse.Namespace, folder: Path) -> None:
    print_machine(*PACKAGES)
    runs: dict[int, list[Run]] = {rows: [] for rows in given.rows}
    async with running_servers(folder, commit_timestamps=True) as (kafka, postgres):
        await check_commit_clock(postgres.dsn)
        ended = await a_finished_task(kafka, postgres, folder)
        filled = {}
        for rows in given.rows:
            began = time.perf_counter()
            filled[rows] = await a_database(postgres.dsn, ended)
            await fill(filled[rows], rows)
            print(f"filled {rows:9,} tasks in {time.perf_counter() - began:.0f} s", flush=True)
        for _ in range(given.rounds):
            for rows, dsn in filled.items():
                run = await measure(dsn, rows, given, kafka, postgres, folder)
                runs[rows].append(run)
                print(
                    f"{rows:9,} rows: {run.rate:6.0f} tasks/s, p99 of a point read "
                    f"{run.point_p99_ms:.2f} ms, of a list {run.list_p99_ms:.2f} ms",
                    flush=True,
                )
    sizes = [Size.of(rows, found) for rows, found in runs.items()]
    least, most = sizes[0], sizes[-1]
    print(
        f"\n{most.rows:,} rows, of {least.rows:,}: rate {most.rate_median / least.rate_median:.0%},"
        f" point read p99 {most.point_p99_ms / least.point_p99_ms:.2f} x,"
        f" list p99 {most.list_p99_ms / least.list_p99_ms:.2f} x"
    )
    if given.record:
        record("growth", {"sizes": [asdict(size) for size in sizes], "tasks": given.tasks})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    sizes_help = "of finished tasks, ascending"
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[1_000, 100_000, 1_000_000], help=sizes_help
    )
    parser.add_argument("--tasks", type=int, default=30_000, help="created at once")
    parser.add_argument("--reads", type=int, default=2_000, help="of each kind")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="keep the figures")
    with bench_folder() as folder:
        asyncio.run(main(parser.parse_args(), folder))
