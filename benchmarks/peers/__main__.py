"""Engines that a Python team would pick instead, beside this one in the same run.

A task has two steps that do nothing: 256 bytes of input, 128 after step 1, 256 as result. All
tasks are in the engine's store before the clock starts; it runs from the start of the workers
(Restate: from the time at which all tasks become due) until the last result can be read. Then
a fresh client reads status and result of every id and compares; one that is missing or wrong
voids the run. One engine at a time, fresh servers and data for each repetition, two processes
that run steps, repetitions interleaved. A Postgres that was filled is vacuumed and analyzed
before the clock, as one that is up for longer than a minute is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness.figures import record
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.run import Run, figures_of
from benchmarks.peers import ours
from benchmarks.peers.engines import PEERS, Peer
from benchmarks.peers.environments import environment, pinned, restate_server
from benchmarks.peers.repetition import repeat


async def main(peers: Sequence[Peer], tasks: int | None, rounds: int) -> dict[str, Any]:
    """Measure, print, and return the figures in the shape of :mod:`benchmarks.harness.figures`."""
    print_machine("aiokafka", "asyncpg", "faust-streaming")
    for peer in peers:
        _print_setting(peer)
    print(f"{ours.NAME}: as `python -m benchmarks.drain` runs it\n  {ours.DURABILITY}")
    print(f"\n{rounds} rounds, interleaved; rates include the start of the workers", flush=True)
    runs: dict[str, list[Run]] = {name: [] for name in (ours.NAME, *(p.name for p in peers))}
    for _ in range(rounds):
        with bench_folder(ignore_cleanup_errors=True) as folder:
            runs[ours.NAME].append(await ours.repeat(tasks or ours.TASKS, folder))
        _print_run(ours.NAME, runs[ours.NAME][-1])
        for peer in peers:
            with bench_folder(ignore_cleanup_errors=True) as folder:
                runs[peer.name].append(await repeat(peer, tasks or peer.tasks, folder))
            _print_run(peer.name, runs[peer.name][-1])
    engines = {name: _figures(found) for name, found in runs.items()}
    for peer in peers:
        engines[peer.name] |= {"settings": peer.settings, "durability": peer.durability}
        engines[peer.name]["versions"] = pinned(peer.peer)
    engines[ours.NAME]["durability"] = ours.DURABILITY
    _print_table(engines)
    return {"rounds": rounds, "engines": engines}


def chosen(names: str) -> list[Peer]:
    """The peers whose name or folder is among those, with their environments made."""
    wanted = [name.strip().lower() for name in names.split(",") if name.strip()]
    unknown = [w for w in wanted if not any(_matches(peer, w) for peer in PEERS)]
    if unknown:
        raise SystemExit(f"no such engine: {', '.join(unknown)}")
    found = [peer for peer in PEERS if not wanted or any(_matches(peer, w) for w in wanted)]
    if any("restate" in peer.servers for peer in found) and restate_server() is None:
        print("Restate is left out: its server comes from npm, which is not on this machine")
        found = [peer for peer in found if "restate" not in peer.servers]
    for peer in found:
        environment(peer.peer)
        if "redis" in peer.servers:
            environment("celery")
    return found


def _matches(peer: Peer, name: str) -> bool:
    return name == peer.peer or peer.name.lower().startswith(name)


def _print_setting(peer: Peer) -> None:
    versions = pinned(peer.peer)
    print(f"\n{peer.name}: {', '.join(f'{name} {versions[name]}' for name in peer.packages)}")
    print(f"  {peer.workers} x work, {json.dumps(peer.settings)}\n  {peer.durability}")


def _print_run(name: str, run: Run) -> None:
    print(f"  {name:28} {run.tasks:7} tasks in {run.seconds:6.1f} s: {run.rate:7.0f}/s", flush=True)


def _figures(runs: Sequence[Run]) -> dict[str, Any]:
    generators = [run.generator_s / run.tasks * 1000 for run in runs if run.generator_s is not None]
    return {
        "tasks": runs[0].tasks,
        **figures_of(runs),
        "generator_cpu_s": statistics.median(generators) if generators else None,
    }


def _print_table(engines: Mapping[str, Mapping[str, Any]]) -> None:
    our_rate = engines[ours.NAME]["rate"]["median"]
    print("\nCPU s are for 1,000 tasks; the generator's are not among them")
    for name, found in sorted(engines.items(), key=lambda item: -item[1]["rate"]["median"]):
        rate, generator = found["rate"], found["generator_cpu_s"]
        print(
            f"{name:28} {rate['median']:7.0f}/s (min {rate['min']:.0f}, max {rate['max']:.0f});"
            f" ours is {our_rate / rate['median']:.1f} x; {found['cpu_s']:.2f} CPU s"
            f" ({', '.join(f'{key} {value:.2f}' for key, value in found['cpu'].items())});"
            f" generator {'not measured' if generator is None else f'{generator:.2f}'};"
            f" peak {max(found['peak_mib'].values()):.0f} MiB"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--engines", default="", help="names or folders, by commas; all without")
    parser.add_argument("--tasks", type=int, help="of every engine; without, each has its own")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="write benchmarks/figures/peers.json")
    given = parser.parse_args()
    figures = asyncio.run(main(chosen(given.engines), given.tasks, given.rounds))
    if given.record:
        record("peers", figures)
