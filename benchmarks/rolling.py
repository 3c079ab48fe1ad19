"""A rolling restart of a whole system under load, process by process, by SIGTERM.

Two processes of each role and two replicas of the service, with callers that use our client: they
create tasks at a steady rate and wait for the end of each. Printed are the errors that callers saw,
tasks without an end, calls of a service that were made twice, and the longest time in which no
task ended, beside the longest one before the first restart.

    python -m benchmarks.rolling
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from benchmarks.harness.callers import WAIT_S, seen_in
from benchmarks.harness.deployment import running_servers
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.quantile import quantile
from benchmarks.harness.ready import is_ready
from orchestrator.layout import roles
from orchestrator.local.dev.fork import Fork
from orchestrator.local.dev.system import DEMO_SERVICES, DEV_DEFAULTS, SERVE, System, open_system
from orchestrator.local.embedded.ports import free_ports
from orchestrator.local.embedded.process import Child
from orchestrator.monitoring.target import read_targets
from orchestrator.settings import load_settings
from tasks.pipeline_file import load_pipelines

QUIET_S = 10.0
"""Load before the first restart, and after the last one."""
CALL_S = 0.2
SERVE_2 = "serve.2"


@asynccontextmanager
async def a_system(folder: Path, call_log: Path) -> AsyncIterator[tuple[System, Sequence[str]]]:
    """Two of everything, and the addresses of both replicas of the service."""
    async with AsyncExitStack() as stack:
        kafka, postgres = await stack.enter_async_context(running_servers(folder))
        environment = {
            "ORCH_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "ORCH_POSTGRES_DSN": postgres.dsn,
            "ORCH_LOG_LEVEL": "warning",
            "ORCH_API_DRAIN_S": "1",
            "ORCH_DEMO_FAULTS": json.dumps([{"tenant": "default", "delay_s": CALL_S}]),
            "ORCH_DEMO_CALL_LOG": str(call_log),
        }
        settings = load_settings(environment, DEV_DEFAULTS)
        twice = dict.fromkeys(roles(load_pipelines()), 2)
        system = await stack.enter_async_context(
            open_system(settings, environment=environment, logs=folder, replicas=twice)
        )
        grpc_port, http_port = free_ports(2)
        variables = {
            **os.environ,
            **system.environment,
            "ORCH_API_GRPC_PORT": str(grpc_port),
            "ORCH_API_HTTP_PORT": str(http_port),
            "ORCH_METRICS_NAME": SERVE_2,
        }
        log_path = folder / f"{SERVE_2}.log"
        system.supervisor.add(Fork(SERVE_2, [SERVE], env=variables, log_path=log_path))
        for name in restarted(system):
            await until_ready(system, name)
        yield system, (f"http://{system.http_address}", f"http://127.0.0.1:{http_port}")


async def until_ready(system: System, name: str) -> None:
    """Wait until a process says that it is ready, as a supervisor does between two restarts."""
    async with asyncio.timeout(WAIT_S), httpx.AsyncClient() as client:
        while not await is_ready(  # noqa: ASYNC110  # it happens in another process
            client, {one.process: one.address for one in read_targets(system.targets)}.get(name)
        ):
            await asyncio.sleep(0.05)


def restarted(system: System) -> list[str]:
    """Our processes, without the reference services."""
    return [name for name in system.supervisor.children if name != DEMO_SERVICES]


async def restart_all(system: System, out: Path) -> None:
    """Restart each process, and wait until it is ready; print the longest gap of each."""
    for name in restarted(system):
        began_s = time.monotonic()
        await system.supervisor.restart(name)
        await until_ready(system, name)
        ended_s = time.monotonic()
        gap_s = seen_in(out).longest_gap_s(began_s - 1, ended_s)
        print(f"{name:>20}: back after {ended_s - began_s:4.1f} s, gap {gap_s:.2f} s", flush=True)


async def measure(rate: float, folder: Path) -> bool:
    """Whether no caller saw an error, no task is lost, and no call was made twice."""
    call_log, out = folder / "calls.jsonl", folder / "callers.jsonl"
    async with a_system(folder, call_log) as (system, urls):
        command = [sys.executable, "-m", "benchmarks.harness.callers", str(out), str(rate), *urls]
        callers = Child("callers", command, env=os.environ, log_path=folder / "callers.log")
        callers.start()
        try:
            await asyncio.sleep(QUIET_S)
            began_s = time.monotonic()
            await restart_all(system, out)
            ended_s = time.monotonic()
            await asyncio.sleep(QUIET_S)
        finally:
            code = await callers.stop(WAIT_S + QUIET_S)
    if code:
        raise SystemExit(f"void: the callers failed: {callers.log_tail()}")
    seen = seen_in(out)
    quiet_s = seen.longest_gap_s(began_s - QUIET_S + 3, began_s)
    calls = Counter(keys_of(call_log.read_text("utf-8").splitlines()))
    twice = sum(count > 1 for count in calls.values())
    print(f"\ntasks: {dict(seen.ends)}, {rate:g} a second")
    print(f"errors that callers saw: {dict(seen.errors) or 'none'}")
    print(f"calls of a service: {len(calls)}, made twice: {twice}")
    print(
        f"longest time without an end: {seen.longest_gap_s(began_s, ended_s):.2f} s; "
        f"{quiet_s:.2f} s before the first restart"
    )
    print(
        f"from creation to end: median {quantile(seen.took_s, 0.5):.2f} s, "
        f"p99 {quantile(seen.took_s, 0.99):.2f} s, longest {max(seen.took_s):.2f} s"
    )
    return not seen.errors and not twice and set(seen.ends) == {"completed"}


def keys_of(lines: Sequence[str]) -> list[str]:
    """The idempotency keys of the calls that began."""
    noted = map(json.loads, lines)
    return [line["idempotency_key"] for line in noted if line["event"] == "began"]


async def main(rate: float, folder: Path) -> None:
    print_machine()
    if not await measure(rate, folder):
        raise SystemExit("callers saw errors, or a call was made twice: see above")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rate", type=float, default=20.0, help="tasks a second")
    given = parser.parse_args()
    with bench_folder() as folder:
        asyncio.run(main(given.rate, folder))
