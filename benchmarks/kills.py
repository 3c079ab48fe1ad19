"""What a steady load loses, repeats and waits for while processes are killed all the time.

Two-step `rag` tasks, whose services are called, at the times of a Poisson process. Every ten
seconds one of the router, sink and step worker processes, which are two of each, gets SIGKILL; its
supervisor starts it again. One task of ten is slow and is cancelled while its service is called.
Afterwards the checker of the chaos tests reads the log, the rows, the letters and the snapshots.

*Recovery* is, for a kill, the time until each partition has a row of a task that was due after the
kill: every role has to have worked on it. Without a kill it is what a task takes and the time
until one comes; that is measured in the quiet time before the first kill.

    python -m benchmarks.kills
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import structlog

from benchmarks.harness.commit_clock import COMMITTED_AT
from benchmarks.harness.deployment import running_servers
from benchmarks.harness.figures import PACKAGES, record
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.quantile import quantile
from orchestrator.layout import STEP_PREFIX
from streams.kafka.partitioner import partition_of
from tests.chaos.chaos import Chaos
from tests.chaos.form import Form
from tests.chaos.load import Load, a_command, a_task
from tests.chaos.system import STEPS, open_chaos
from tests.checker.check import check, events_of
from tests.checker.evidence import Evidence
from tests.checker.log import Logged
from tests.checker.reading import read_evidence
from tests.checker.waiting import ENDS
from tests.checker.wire import encode

ROLES = ("router", "sink", *(STEP_PREFIX + step for step in STEPS))
_PROCESSES = 2
_PARTITIONS = 4
_QUIET_S = 20.0
"""Load without kills, to compare with."""
_SAMPLE_S = 0.5
_START_S = 120.0
_SLOW, _QUICK = "slow", "acme"
_CANCELLED = 0.1
_CALL_S = 3.0
_CANCEL_AFTER_S = 1.0
_ROWS = f"SELECT id, {COMMITTED_AT} AS at, status FROM ai_orchestrator.tasks"


class SteadyLoad(Load):
    """Creates tasks at a rate, whatever became of those before, and cancels the slow ones."""

    rate = 20.0

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.due: dict[str, float] = {}
        """Unix seconds at which a task was to be created."""
        self.cancelled: dict[str, float] = {}
        """Unix seconds at which its cancel was sent."""

    async def run(self, *, at_least: int) -> None:
        """Create until told to finish, at least ``at_least``."""
        await self._producer.start()
        try:
            at = time.time()
            async with asyncio.TaskGroup() as sends:
                while len(self.ids) < at_least or not self._finishing:
                    at += self._plan.expovariate(self.rate)
                    await asyncio.sleep(max(0.0, at - time.time()))
                    sends.create_task(self._one(at))
        finally:
            await self._producer.stop()

    async def _one(self, at: float) -> None:
        slow = self.draw() < _CANCELLED
        task = a_task(_SLOW if slow else _QUICK)
        task_id = task["task_id"]
        self.ids.append(task_id)
        self.due[task_id] = at
        await self._send(self._created, [(task_id, encode(task, "TaskCreated"))])
        if slow:
            await asyncio.sleep(_CANCEL_AFTER_S)
            self.cancelled[task_id] = time.time()
            order = encode(a_command(task, "cancel"), "TaskCommand")
            await self._send(self._commands, [(task_id, order)])


@dataclass(slots=True)
class Kills:
    """When things happened in one run."""

    at: list[tuple[str, float]] = field(default_factory=list)
    """Which process, and the Unix time."""
    calm_from: float = 0.0
    """Unix time from which on all roles kept up with the load."""

    async def go_on(self, chaos: Chaos, load: Load, *, seconds: float, every_s: float) -> None:
        """Kill one process after the other."""
        system = chaos.running.system
        names = [name for role in ROLES for name in system.replicas(role)]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            alive = [name for name in names if system.child(name).returncode is None]
            name = load.pick(alive, [1] * len(alive))
            self.at.append((name, time.time()))
            system.child(name).kill()
            await asyncio.sleep(every_s)


def recovery_s(ends: Mapping[int, Sequence[tuple[float, float]]], killed_at: float) -> float | None:
    """Seconds from a kill until each partition has a row of a task that was due later.

    Args:
        ends: for each partition, when tasks were due and when their last row was committed.
        killed_at: Unix seconds, as the others.

    Returns:
        None: a partition had no task after it; nothing can be told.
    """
    first = [min((end for due, end in of if due > killed_at), default=None) for of in ends.values()]
    found = [end - killed_at for end in first if end is not None]
    return max(found) if found and len(found) == len(first) else None


async def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One run; the figures."""
    form = Form(
        tasks=1,
        in_flight=1,
        kills=0,
        minutes=given.minutes,
        seed=given.seed,
        call_s=_CALL_S,
        surplus=0,
        partitions=_PARTITIONS,
    )
    SteadyLoad.rate = given.rate
    variables = {"ORCH_ROUTER_SNAPSHOT_INTERVAL_S": "10", "ORCH_LOG_LEVEL": "warning"}
    kills = Kills()
    async with (
        running_servers(folder, commit_timestamps=True) as (kafka, postgres),
        open_chaos(
            kafka,
            postgres,
            form,
            folder,
            replicas=dict.fromkeys(ROLES, _PROCESSES),
            variables=variables,
        ) as chaos,
    ):
        # Not of each process that it was killed and is started again.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        unended = ""
        try:
            async with chaos.load("kills", SteadyLoad) as load:
                # What came while processes were started has been done.
                await chaos.watch.until(lambda: load.in_flight < given.rate, timeout_s=_START_S)
                kills.calm_from = time.time()
                await asyncio.sleep(_QUIET_S)
                seconds = given.minutes * 60
                await kills.go_on(chaos, load, seconds=seconds, every_s=given.every)
        except AssertionError as error:
            unended = str(error)
        await chaos.settle()
        assert isinstance(load, SteadyLoad)
        return await _figures(chaos, load, kills, unended)


async def _figures(chaos: Chaos, load: SteadyLoad, kills: Kills, unended: str) -> dict[str, Any]:
    system, running = chaos.running.system, chaos.running
    dsn, prefix = system.settings.postgres.dsn, system.settings.topics.prefix
    evidence = await read_evidence(running.bootstrap, dsn, prefix=prefix)
    verdict, log = check(evidence, quiet=not unended), events_of(evidence)
    print(verdict)
    connection = await asyncpg.connect(dsn)
    rows = {row["id"]: (row["at"], row["status"]) for row in await connection.fetch(_ROWS)}
    await connection.close()
    ended = {task_id: [e for e in log.histories[task_id] if e.kind in ENDS] for task_id in load.ids}
    lost = [i for i in load.ids if not ended[i] or rows.get(i, (0, ""))[1] not in ENDS]
    twice = sum(len(found) > 1 for found in ended.values())
    calls = running.calls_by_key(load.ids)
    due = load.due.values()
    return {
        "kills": len(kills.at),
        "tasks": len(load.ids),
        "rate": len(load.ids) / (max(due) - min(due)),
        "lost": len(lost),
        "doubled": twice + len(verdict.violations),
        "second_calls": calls.total() - len(calls),
        "calls": len(calls),
        **_recovery(load, {task_id: at for task_id, (at, _) in rows.items()}, kills),
        **_cancels(load, evidence, ended),
    }


def _recovery(load: SteadyLoad, rows: Mapping[str, float], kills: Kills) -> dict[str, Any]:
    """How long each kill was felt, and how long tasks took."""
    quick = {i: due for i, due in load.due.items() if i not in load.cancelled and i in rows}
    ends: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for task_id, due in quick.items():
        ends[partition_of(task_id.encode(), _PARTITIONS)].append((due, rows[task_id]))
    recovered = [(name, recovery_s(ends, at)) for name, at in kills.at]
    seconds = [each for _, each in recovered if each is not None]
    moments = int(_QUIET_S / 2 / _SAMPLE_S)
    calm = [recovery_s(ends, kills.calm_from + number * _SAMPLE_S) for number in range(moments)]
    took = [rows[i] - due for i, due in quick.items() if due >= kills.calm_from]
    return {
        "by_role": _by_role(recovered),
        "recovery_p95_s": quantile(seconds, 0.95),
        "recovery_p50_s": quantile(seconds, 0.5),
        "calm_s": statistics.median(each for each in calm if each is not None),
        "p50_ms": quantile(took, 0.5) * 1000,
        "p99_ms": quantile(took, 0.99) * 1000,
    }


def _cancels(
    load: SteadyLoad, evidence: Evidence, ended: Mapping[str, Sequence[Logged]]
) -> dict[str, float]:
    """From a cancel to its event, of the tasks that a cancel ended."""
    took_ms = [
        event.timestamp_ms - load.cancelled[task_id] * 1000
        for task_id in load.cancelled
        for end in ended[task_id][:1]
        if end.kind == "cancelled" and (event := evidence.at(end.position)) is not None
    ]
    return {
        "cancels": len(took_ms),
        "cancel_p50_ms": quantile(took_ms, 0.5),
        "cancel_p95_ms": quantile(took_ms, 0.95),
    }


def _by_role(recovered: Sequence[tuple[str, float | None]]) -> dict[str, list[float]]:
    """The seconds of each kill, by the role of the process."""
    found: dict[str, list[float]] = {role: [] for role in ROLES}
    for name, seconds in recovered:
        if seconds is not None:
            found[next(role for role in ROLES if name.startswith(role))].append(seconds)
    return found


def rows_of(found: Mapping[str, Any]) -> list[list[str]]:
    """The table of the page."""
    roles = [
        [
            f"recovery from a kill of `{role}`, median (longest), {len(each)} kills",
            f"{statistics.median(each):.1f} s ({max(each):.1f} s)",
        ]
        for role, each in found["by_role"].items()
        if each
    ]
    return [
        ["kills", f"{found['kills']}"],
        ["tasks, a second", f"{found['tasks']:,}, {found['rate']:.1f}"],
        ["lost", f"{found['lost']}"],
        ["doubled", f"{found['doubled']}"],
        [
            "second calls, of attempts that were called",
            f"{found['second_calls']} of {found['calls']:,}",
        ],
        [
            "recovery, median, p95",
            f"{found['recovery_p50_s']:.1f} s, {found['recovery_p95_s']:.1f} s",
        ],
        ["the same without a kill", f"{found['calm_s']:.1f} s"],
        *roles,
        [
            f"cancel to its event, median, p95, {found['cancels']} cancels",
            f"{found['cancel_p50_ms']:,.0f} ms, {found['cancel_p95_ms']:,.0f} ms",
        ],
        ["due to row, median, p99", f"{found['p50_ms']:,.0f} ms, {found['p99_ms']:,.0f} ms"],
    ]


async def main(given: argparse.Namespace, folder: Path) -> None:
    print_machine(*PACKAGES)
    found = await measure(given, folder)
    rows = rows_of(found)
    for what, measured in rows:
        print(f"{what:70} {measured}")
    if given.record:
        record("kills", {**found, "head": ["", "measured"], "rows": rows, "seed": given.seed})
    if found["lost"] or found["doubled"]:
        raise SystemExit("a task was lost, or something was doubled: see above")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=5.0, help="of kills")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two kills")
    parser.add_argument("--rate", type=float, default=20.0, help="tasks a second")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn by chance")
    parser.add_argument("--record", action="store_true", help="keep the figures")
    with bench_folder(ignore_cleanup_errors=True) as folder:
        asyncio.run(main(parser.parse_args(), folder))
