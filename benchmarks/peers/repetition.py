"""One repetition of one peer: fill, start the workers, wait for the last result, read them all."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from benchmarks.chains.raw import STEPS, output_of
from benchmarks.harness.processes import cpu_s, largest_mib
from benchmarks.harness.run import Run
from benchmarks.harness.workload import TWO_STEPS
from benchmarks.peers.engines import Peer
from benchmarks.peers.environments import SOURCES, python
from benchmarks.peers.servers import SERVERS
from orchestrator.local.embedded.process import Child

_COMMAND_S = 400
_SAMPLE_S = 0.25


async def repeat(peer: Peer, tasks: int, folder: Path) -> Run:
    """One repetition, with servers and data of its own.

    Raises:
        SystemExit: a result is missing or wrong, or a process ended: the run is void.
    """
    async with AsyncExitStack() as stack:
        servers = {
            name: await stack.enter_async_context(SERVERS[name](folder, peer.settings))
            for name in peer.servers
        }
        environment = _environment(peer, tasks, folder)
        for server in servers.values():
            environment |= server.environment
        program = _Program(peer, environment, folder)
        program.run("prepare")
        workers = [program.child("work", n) for n in range(peer.workers)]
        stack.push_async_callback(_stop, workers)
        if peer.scheduled:
            _start(workers)
        before_s = resource.getrusage(resource.RUSAGE_CHILDREN)
        due = program.run("fill")
        after_s = resource.getrusage(resource.RUSAGE_CHILDREN)
        if "PEER_DSN" in environment:
            await _vacuum(environment["PEER_DSN"])
        waiter = program.child("wait", 0)
        stack.push_async_callback(_stop, [waiter])
        if peer.scheduled:
            await _until(float(due))
        pids = {name: [server.pid] for name, server in servers.items()}
        seconds, cpu, peak_mib = await _measure(workers, waiter, pids)
        right = int(program.run("read"))
    if right != tasks:
        raise SystemExit(f"void: {peer.name} has {right} right results of {tasks}")
    generator_s = (after_s.ru_utime - before_s.ru_utime) + (after_s.ru_stime - before_s.ru_stime)
    return Run(tasks, seconds, cpu, peak_mib, generator_s)


async def _vacuum(dsn: str) -> None:
    """What a server that is up for longer than a minute has done by itself: statistics."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


class _Program:
    """A peer's ``app.py``."""

    def __init__(self, peer: Peer, environment: Mapping[str, str], folder: Path) -> None:
        self._peer, self._environment, self._folder = peer, environment, folder
        self._command = [str(python(peer.peer)), "app.py"]
        self._cwd = SOURCES / peer.peer

    def run(self, command: str) -> str:
        """To its end; what it printed."""
        done = subprocess.run(
            [*self._command, command],
            cwd=self._cwd,
            env=dict(self._environment),
            stdout=subprocess.PIPE,
            timeout=_COMMAND_S,
            text=True,
        )
        if done.returncode != 0:
            raise SystemExit(f"void: {self._peer.name}, {command}: status {done.returncode}")
        return done.stdout

    def child(self, command: str, number: int) -> Child:
        """Not yet started."""
        return Child(
            command,
            [self._command[0], str(self._cwd / "app.py"), command],
            env=self._environment,
            cwd=self._cwd,
            log_path=self._folder / f"{command}-{number}.log",
        )


def _environment(peer: Peer, tasks: int, folder: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
        "PYTHONPATH": str(SOURCES / "contract"),
        "PEER_TASKS": str(tasks),
        "PEER_INPUT": TWO_STEPS.input,
        "PEER_FIRST": output_of(STEPS[0]),
        "PEER_SECOND": output_of(STEPS[1]),
        "PEER_SETTINGS": json.dumps(peer.settings),
        "PEER_IDS": str(folder / "ids.json"),
    }


async def _measure(
    workers: Sequence[Child], waiter: Child, pids: dict[str, list[int]]
) -> tuple[float, dict[str, float], dict[str, float]]:
    """Start what does not run yet, and wait until the waiter ends."""
    started = [worker.pid or 0 for worker in workers if worker.pid]
    before = {name: sum(map(cpu_s, each)) for name, each in pids.items()}
    before["workers"] = sum(map(cpu_s, started))
    began = time.perf_counter()
    waiter.start()
    if not started:
        _start(workers)
    pids["workers"] = [worker.pid or 0 for worker in workers]
    peak_mib = dict.fromkeys(pids, 0.0)
    while waiter.returncode is None:
        for name, each in pids.items():
            peak_mib[name] = max(peak_mib[name], *map(largest_mib, each))
        _all_run(workers)
        await asyncio.sleep(_SAMPLE_S)
    seconds = time.perf_counter() - began
    cpu = {name: sum(map(cpu_s, each)) - before[name] for name, each in pids.items()}
    if waiter.returncode != 0:
        logs = "\n".join(child.log_tail() for child in (waiter, *workers))
        raise SystemExit(f"void: the results did not come:\n{logs}")
    return seconds, cpu, peak_mib


def _start(workers: Sequence[Child]) -> None:
    for worker in workers:
        worker.start()


def _all_run(workers: Sequence[Child]) -> None:
    for worker in workers:
        if worker.returncode is not None:
            raise SystemExit(f"void: a worker ended with {worker.returncode}:\n{worker.log_tail()}")


async def _stop(children: Sequence[Child]) -> None:
    for child in children:
        child.kill()
        if child.pid is not None:
            await child.wait(10.0)


async def _until(due: float) -> None:
    """Sleep until a Unix time; a generator that was not done before it makes the run void."""
    left_s = due - time.time()
    if left_s < 0:
        raise SystemExit(f"void: the tasks became due {-left_s:.1f} s before all were submitted")
    await asyncio.sleep(left_s)
