"""What the whole system takes of a machine while it has nothing to do.

`make run` without its demonstration: broker, Postgres, every role, the service and the reference
services on a new data folder. When the CPU time of a window no longer falls, all processes below
it are counted for a minute, in cores: CPU seconds for each second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import httpx

from benchmarks.harness.figures import record
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.processes import cpu_s
from benchmarks.harness.ready import until_ready
from orchestrator.local.embedded.process import Child
from orchestrator.running.file import FILE, find_running
from orchestrator.running.record import RunningSystem

_START_S = 180.0
_WINDOW_S = 5.0
_QUIET_S = 120.0
_LESS = 0.9
"""A window with less than that part of the one before says that the start still goes on."""
_DEV = "dev"
_STOP_S = 60.0


async def measure(seconds: float, folder: Path) -> dict[str, float]:
    """Start the system, wait until it is quiet; cores that each process takes."""
    data = folder / "data"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
    ports = dict.fromkeys(
        ("API_GRPC_PORT", "API_HTTP_PORT", "EMBEDDED_KAFKA_PORT", "EMBEDDED_POSTGRES_PORT"), "0"
    )
    environment = {
        **kept,
        **{f"ORCH_{name}": port for name, port in ports.items()},
        "ORCH_EMBEDDED_DATA_DIR": str(data),
    }
    command = [sys.executable, "-m", "orchestrator", "dev", "--no-demo"]
    dev = Child(_DEV, command, env=environment, log_path=folder / "dev.log")
    dev.start()
    try:
        system = await _until_running(data / FILE, dev)
        async with httpx.AsyncClient() as client:
            await until_ready(client, system.http.removeprefix("http://"))
        await _until_quiet(dev)
        before, began = _cpu(dev, system), time.perf_counter()
        await asyncio.sleep(seconds)
        after, ended = _cpu(dev, system), time.perf_counter()
    finally:
        await dev.stop(_STOP_S)
    return {name: (after[name] - before[name]) / (ended - began) for name in after}


async def _until_running(file: Path, dev: Child) -> RunningSystem:
    async with asyncio.timeout(_START_S):
        while (found := find_running([file]).system) is None:
            if dev.returncode is not None:
                raise SystemExit(f"void: the system did not start:\n{dev.log_tail()}")
            await asyncio.sleep(0.2)
    return found


async def _until_quiet(dev: Child) -> None:
    """Wait until a window takes about what the one before took."""
    last, until = float("inf"), time.monotonic() + _QUIET_S
    while time.monotonic() < until:
        before = cpu_s(dev.pid or 0)
        await asyncio.sleep(_WINDOW_S)
        took = cpu_s(dev.pid or 0) - before
        if took >= last * _LESS:
            return
        last = took
    raise SystemExit(f"void: it is not quiet after {_QUIET_S:.0f} s")


def _cpu(dev: Child, system: RunningSystem) -> dict[str, float]:
    """CPU seconds of each process until now; what is left is that of the supervising one."""
    children = {one.name: one.pid for one in system.servers}
    children |= {one.name: one.pid for one in system.processes}
    found = {name: cpu_s(pid) for name, pid in children.items() if pid is not None}
    return {**found, _DEV: cpu_s(dev.pid or 0) - sum(found.values())}


async def main(given: argparse.Namespace, folder: Path) -> None:
    print_machine()
    cores = await measure(given.seconds, folder)
    whole = sum(cores.values())
    ordered = sorted(cores, key=lambda name: -cores[name])
    rows = [[name, f"{cores[name]:.4f}", f"{cores[name] / whole:.0%}"] for name in ordered]
    rows.append(["all", f"{whole:.4f}", ""])
    for row in rows:
        print("  ".join(f"{cell:>20}" for cell in row))
    if given.record:
        figures = {"head": ["process", "cores", ""], "rows": rows, "cores": whole}
        record("idle", {**figures, "by_process": cores, "seconds": given.seconds})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0, help="that are counted")
    parser.add_argument("--record", action="store_true", help="keep the figures")
    with bench_folder(ignore_cleanup_errors=True) as folder:
        asyncio.run(main(parser.parse_args(), folder))
