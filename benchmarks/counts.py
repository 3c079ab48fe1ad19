"""What it costs the sink to count: its writes with and without, in the same run.

The log of two-step tasks is written by the sink's own writer, in batches of a size, four
partitions at once as in a sink. Both ways take turns, each on an empty database.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from benchmarks.harness.deployment import a_database
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from schemas.records import ResultKind
from sinks import writer as counted_writer
from sinks.counts import store
from sinks.counts.row import CountRow
from sinks.rows import LogEvent
from sinks.schema.migrate import migrate_up
from sinks.settings import PostgresSettings
from sinks.writer import Position, Writer
from tests.sinks.building import ALog

PARTITIONS = 4
BATCHES = (2, 50, 500)
"""Events of one partition in a batch: a quiet system, a busy one, a backlog."""
_EMPTY = (
    "TRUNCATE ai_orchestrator.tasks, ai_orchestrator.task_steps,"
    " ai_orchestrator.task_execution_logs, ai_orchestrator.sink_offsets,"
    " ai_orchestrator.metric_counts"
)


def a_log(partition: int, tasks: int) -> Sequence[LogEvent]:
    """Tasks that go through their steps side by side, so that batches cut through them."""
    log = ALog(partition=partition)
    names = [f"task_{partition}_{number}" for number in range(tasks)]
    for first in range(0, tasks, 20):
        some = names[first : first + 20]
        for name in some:
            log.create(name)
        for kind in (ResultKind.STARTED, ResultKind.SUCCEEDED) * 2:
            for name in some:
                log.report(kind, name)
    return log.events


async def write(writer: Writer, events: Sequence[LogEvent], size: int) -> None:
    """Write one partition's log in batches of a size."""
    stands = None
    for first in range(0, len(events), size):
        batch = events[first : first + size]
        after = Position(batch[-1].offset + 1, 1, "bench")
        await writer.write(batch[0].partition, stands, batch, after)
        stands = after


async def seconds(dsn: str, logs: Sequence[Sequence[LogEvent]], size: int) -> float:
    """How long the writer takes for all partitions."""
    conn = await asyncpg.connect(dsn)
    await conn.execute(_EMPTY)
    await conn.execute("CHECKPOINT")
    await conn.close()
    writer = Writer(PostgresSettings(dsn=dsn))
    await writer.open()
    began = time.perf_counter()
    await asyncio.gather(*(write(writer, events, size) for events in logs))
    took = time.perf_counter() - began
    await writer.close()
    return took


async def nothing(*_: object, **__: object) -> Sequence[CountRow]:
    """In place of counting, and of reading what was counted."""
    return []


class _WithoutCounts:
    """As :mod:`sinks.counts.store`, but that nothing is counted."""

    counts_of = staticmethod(nothing)
    read_names = staticmethod(nothing)


async def main(given: argparse.Namespace, folder: Path) -> None:
    print_machine("asyncpg")
    logs = [a_log(partition, given.tasks // PARTITIONS) for partition in range(PARTITIONS)]
    events = sum(map(len, logs))
    postgres = EmbeddedPostgres(folder)
    try:
        dsn = await a_database(await postgres.start())
        await migrate_up(dsn)
        for size in BATCHES:
            took: dict[str, list[float]] = {"without": [], "with": []}
            for _ in range(given.rounds):
                for way, module in (("without", _WithoutCounts), ("with", store)):
                    counted_writer.store = module  # type: ignore[assignment, attr-defined]
                    took[way].append(await seconds(dsn, logs, size))
            rates = {way: events / statistics.median(found) for way, found in took.items()}
            print(
                f"batches of {size:3} events: {rates['without']:6.0f} events/s without counts, "
                f"{rates['with']:6.0f} with: {rates['with'] / rates['without']:.2f} x"
            )
    finally:
        await postgres.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    with bench_folder() as folder:
        asyncio.run(main(parser.parse_args(), folder))
