"""The orchestrator, in the same run as its peers."""

from __future__ import annotations

from pathlib import Path

from benchmarks.drain import drain
from benchmarks.peers.repetition import Run
from orchestrator.embedded.kafka import EmbeddedKafka
from orchestrator.embedded.postgres import EmbeddedPostgres

NAME = "orchestrator"
TASKS = 10_000
DURABILITY = (
    "Kafka, one broker, no fsync: a kill loses nothing; a power loss loses what the kernel had not"
    " written, which replicas on other machines are for; rows in Postgres are safe"
)


async def repeat(tasks: int, folder: Path) -> Run:
    """One repetition, with servers of its own."""
    kafka, postgres = EmbeddedKafka(folder / "kafka"), EmbeddedPostgres(folder / "postgres")
    await kafka.start()
    await postgres.start()
    try:
        run = await drain(NAME, tasks, kafka, postgres, folder)
    finally:
        await kafka.kill()
        await postgres.stop()
    return Run(tasks, run.seconds, run.cpu, {"largest": run.peak_mib}, None)
