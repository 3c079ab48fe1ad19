"""A broker that is away for minutes: at the start of the roles, in the middle, at their end.

``python -m tests.chaos.outage --minutes 5`` runs all three on servers of its own and prints, for
each, whether a process ended, how many lines each process logged, and how soon tasks went on.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.settings import load_settings
from schemas.records import Json, Millis, TaskCreated, TaskId
from tests.e2e.driving import ANY_PORTS, Running, a_database

LINES_A_MINUTE = 20
BACK_S = 10.0
_BEFORE_S = 120.0
_STOP_S = 60.0


@dataclass(slots=True)
class Outage:
    """What one outage did."""

    name: str
    minutes: float
    ended: list[str] = field(default_factory=list)
    """Processes that ended while the broker was away."""
    lines: dict[str, int] = field(default_factory=dict)
    """By process: the lines that it logged meanwhile."""
    back_s: float = 0.0
    """From the broker's first answer to the end of a task that was published then."""

    @property
    def most_lines_a_minute(self) -> float:
        return max(self.lines.values(), default=0) / max(1.0, self.minutes)

    def __str__(self) -> str:
        noisiest = max(self.lines, key=lambda name: self.lines[name], default="")
        return (
            f"{self.name:<8} away {self.minutes:g} min; ended: {', '.join(self.ended) or 'none'}; "
            f"lines: at most {self.lines.get(noisiest, 0)} ({noisiest}), "
            f"{self.most_lines_a_minute:.1f} a minute; went on after {self.back_s:.1f} s"
        )


@dataclass(slots=True)
class Site:
    """A running system whose broker can be taken away."""

    running: Running
    kafka: EmbeddedKafka

    @property
    def roles(self) -> list[str]:
        return [name for name in self.running.system.supervisor.children if name != "services"]

    async def complete(self) -> float:
        """Seconds from now until a task that is published now has its row."""
        began = time.monotonic()
        await self.running.create([task := a_task()])
        await self.running.ended([task.task_id], timeout_s=_BEFORE_S)
        return time.monotonic() - began

    def lines(self) -> dict[str, int]:
        logs = self.running.logs
        found = {}
        for name in self.roles:
            path = logs / f"{name}.log"
            found[name] = len(path.read_bytes().splitlines()) if path.exists() else 0
        return found

    async def away(self, name: str, minutes: float) -> Outage:
        """Wait while the broker is away, then bring it back."""
        outage = Outage(name, minutes)
        supervisor = self.running.system.supervisor
        before, restarts = self.lines(), dict(supervisor.restarts)
        await asyncio.sleep(minutes * 60)
        outage.ended = [n for n in self.roles if supervisor.restarts[n] != restarts[n]]
        outage.lines = {n: count - before[n] for n, count in self.lines().items()}
        await self.kafka.start()
        outage.back_s = await self.complete()
        return outage


def a_task() -> TaskCreated:
    return TaskCreated(
        task_id=TaskId(f"task_{uuid.uuid4()}"),
        tenant_id="outage",
        type="rag",
        input=Json('{"query":"What is a dead letter?"}'),
        # The task must outlive the outage.
        timeout_ms=3_600_000,
        created_at=Millis(time.time_ns() // 1_000_000),
    )


async def in_the_middle(site: Site, minutes: float) -> Outage:
    """Tasks are under way when the broker dies; they end when it is back."""
    tasks = [a_task() for _ in range(20)]
    await site.running.create(tasks)
    await site.kafka.kill()
    outage = await site.away("middle", minutes)
    await site.running.ended([task.task_id for task in tasks], timeout_s=_BEFORE_S)
    return outage


async def at_the_start(site: Site, minutes: float) -> Outage:
    """All roles start while the broker is away."""
    supervisor = site.running.system.supervisor
    await asyncio.gather(*(supervisor.stop(name) for name in site.roles))
    await site.kafka.kill()
    for name in site.roles:
        await supervisor.start(name)
    return await site.away("start", minutes)


async def at_the_end(site: Site, minutes: float) -> Outage:
    """All roles are told to stop while the broker is away, and do; tasks go on afterwards."""
    supervisor = site.running.system.supervisor
    tasks = [a_task() for _ in range(20)]
    await site.running.create(tasks)
    await site.kafka.kill()
    before = site.lines()
    await asyncio.sleep(minutes * 60)
    outage = Outage("end", minutes)
    outage.lines = {n: count - before[n] for n, count in site.lines().items()}
    async with asyncio.timeout(_STOP_S):
        await asyncio.gather(*(supervisor.stop(name) for name in site.roles))
    await site.kafka.start()
    for name in site.roles:
        await supervisor.start(name)
    outage.back_s = await site.complete()
    await site.running.ended([task.task_id for task in tasks], timeout_s=_BEFORE_S)
    return outage


@asynccontextmanager
async def open_site(folder: Path) -> AsyncIterator[Site]:
    """A whole system on servers of its own."""
    kafka, postgres = EmbeddedKafka(folder / "kafka"), EmbeddedPostgres(folder / "postgres")
    await kafka.start()
    await postgres.start()
    try:
        environment = {
            **ANY_PORTS,
            "ORCH_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "ORCH_TOPICS_PARTITIONS": "4",
            "ORCH_POSTGRES_DSN": await a_database(postgres.dsn),
            "ORCH_DEMO_CALL_LOG": str(folder / "calls.jsonl"),
        }
        settings = load_settings(environment, DEV_DEFAULTS)
        async with open_system(settings, environment=environment, logs=folder / "logs") as system:
            running = Running(system=system, call_log=folder / "calls.jsonl", logs=folder / "logs")
            site = Site(running, kafka)
            await site.complete()
            yield site
    finally:
        await kafka.kill()
        await postgres.stop()


async def _main(minutes: float, only: str | None) -> int:
    outages = {"middle": in_the_middle, "start": at_the_start, "end": at_the_end}
    bad = 0
    with tempfile.TemporaryDirectory(prefix="orchestrator-outage-") as directory:
        folder = Path(directory)
        await asyncio.to_thread(folder.chmod, 0o711)
        async with open_site(folder) as site:
            for name, outage in outages.items():
                if only in (None, name):
                    found = await outage(site, minutes)
                    print(found, flush=True)
                    bad += bool(found.ended) or found.most_lines_a_minute > LINES_A_MINUTE
                    bad += found.back_s > BACK_S
    return 1 if bad else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--only", choices=["middle", "start", "end"])
    given = parser.parse_args()
    raise SystemExit(asyncio.run(_main(given.minutes, given.only)))
