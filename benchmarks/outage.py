"""What an outage of one service costs its tasks, and the tasks of other services.

A whole system. Tasks of type `agent` come at a steady rate, and 5,000 tasks of type `rag`
wait at once while their service is down, refuses every call as one too many, or fails for three
calls of ten. Printed for each: the calls that were spent, dead letters, retries, and how long the
other tasks took beside how long they took before.

    python -m benchmarks.outage
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx

from agents.steps.gate.retry_budget import RetryBudgetSettings
from benchmarks.harness.deployment import running_servers
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.quantile import quantile
from benchmarks.harness.ready import until_ready
from orchestrator.local.demo.faults import Fault, Faults
from orchestrator.local.demo.server import ReferenceServices
from orchestrator.local.demo.settings import DemoSettings
from orchestrator.local.dev.system import DEV_DEFAULTS, System, open_system
from orchestrator.settings import load_settings
from schemas.gen.services.v1 import step_service_pb2 as pb

SERVICE = "retrieval"
HIT = {"type": "rag", "input": {"query": "What is a lane?"}}
OTHER = {"type": "agent", "input": {"query": "What is 6 * 7?"}}
OTHERS_PER_S = 10
BATCH = 500
SLOWED = 1.2
"""How much slower the other tasks may become."""
WAIT_S = 600.0
RETRIES_MIN = RetryBudgetSettings().per_minute_min
RETRIES_PERCENT = RetryBudgetSettings().percent
SLOTS = 64
"""Of the worker: so many calls may come later than the worker has counted them."""
SOME_ERRORS = "30 % errors"
KINDS = {
    # First: the budget of retries looks at the last minute.
    SOME_ERRORS: Fault(service=SERVICE, status="UNAVAILABLE"),
    "down": Fault(service=SERVICE, status="UNAVAILABLE"),
    "429": Fault(service=SERVICE, status="RESOURCE_EXHAUSTED"),
}


class Outage(Faults):
    """The faults of the reference services, which can be switched while they serve."""

    def __init__(self) -> None:
        super().__init__()
        self.kind: str | None = None
        self.attempts: Counter[int] = Counter()
        """Calls of the service by the number of their attempt."""
        self.calls: list[tuple[float, bool]] = []
        """When each call came, on the monotonic clock, and whether it was a retry."""

    def take(self, service: str, request: pb.RunRequest) -> Fault | None:
        """The fault for this call."""
        if service != SERVICE:
            return None
        self.attempts[request.attempt] += 1
        self.calls.append((time.monotonic(), request.attempt > 1))
        if self.kind is None:
            return None
        passes = self.kind == SOME_ERRORS and self.attempts.total() % 10 >= 3
        return None if passes else KINDS[self.kind]


def above_budget(calls: Sequence[tuple[float, bool]]) -> int:
    """By how many the retries of a minute were above the minute's budget when one was made."""
    worst, first, retries = 0, 0, 0
    for count, (at_s, is_retry) in enumerate(calls, 1):
        retries += is_retry
        while calls[first][0] < at_s - 60:
            retries -= calls[first][1]
            first += 1
        if is_retry:
            allowed = max(RETRIES_MIN, (count - first) * RETRIES_PERCENT / 100)
            worst = max(worst, math.ceil(retries - allowed))
    return worst


@dataclass
class Others:
    """The tasks of other services: when each began, and how long it took."""

    took: list[tuple[float, float]] = field(default_factory=list)

    def median_s(self, since_s: float, until_s: float) -> float:
        """The median of those that began between two times."""
        return quantile([took for at, took in self.took if since_s <= at <= until_s], 0.5)


@asynccontextmanager
async def a_system(folder: Path) -> AsyncIterator[tuple[System, Outage]]:
    """Real servers, every role as a process, and reference services in this one."""
    async with AsyncExitStack() as stack:
        kafka, postgres = await stack.enter_async_context(running_servers(folder))
        services, outage = ReferenceServices(DemoSettings()), Outage()
        services.faults = outage
        await stack.enter_async_context(services)
        environment = {
            "ORCH_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "ORCH_POSTGRES_DSN": postgres.dsn,
            "ORCH_LOG_LEVEL": "warning",
            "ORCH_API_LIMITS_REQUESTS_PER_S": "100000",
            **{f"ORCH_SERVICES_{name.upper()}": at for name, at in services.addresses.items()},
        }
        settings = load_settings(environment, DEV_DEFAULTS)
        system = open_system(settings, environment=environment, logs=folder)
        yield await stack.enter_async_context(system), outage


async def arrive(http: httpx.AsyncClient, others: Others) -> None:
    """Create the other tasks at their rate, until cancelled."""
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(one_other(http, others))
            await asyncio.sleep(1 / OTHERS_PER_S)


async def one_other(http: httpx.AsyncClient, others: Others) -> None:
    began_s = time.monotonic()
    answer = await http.post("/api/v1/tasks:execute", json=OTHER, headers={"prefer": "wait=60"})
    if answer.json()["task"]["status"] != "completed":
        raise RuntimeError(f"another task did not complete: {answer.text[:300]}")
    others.took.append((began_s, time.monotonic() - began_s))


async def create(http: httpx.AsyncClient, count: int, mark: str) -> None:
    """Create the tasks of the service that fails; ``mark`` is their user."""
    for _ in range(count // BATCH):
        batch = {"tasks": [{**HIT, "user_id": mark}] * BATCH}
        (await http.post("/api/v1/tasks:batch", json=batch)).raise_for_status()


async def ends(system: System, mark: str, count: int) -> Counter[str]:
    """The statuses of the tasks of a mark, when all have ended."""
    connection = await asyncpg.connect(system.settings.postgres.dsn)
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                rows = await connection.fetch(
                    "SELECT status, count(*) FROM ai_orchestrator.tasks WHERE user_id = $1"
                    " GROUP BY status",
                    mark,
                )
                found = Counter({row["status"]: row["count"] for row in rows})
                if sum(found[end] for end in ("completed", "failed", "cancelled")) >= count:
                    return found
                await asyncio.sleep(0.5)
    finally:
        await connection.close()


async def one_outage(
    system: System, http: httpx.AsyncClient, outage: Outage, kind: str, count: int, seconds: float
) -> bool:
    """Print what one kind of outage cost; return whether it kept what is promised."""
    others, mark = Others(), uuid.uuid4().hex
    arriving = asyncio.create_task(arrive(http, others))
    quiet_s = time.monotonic()
    await asyncio.sleep(seconds / 3)
    outage.attempts.clear()
    outage.calls.clear()
    outage.kind = kind
    began_s = time.monotonic()
    await create(http, count, mark)
    created_s = time.monotonic()
    await asyncio.sleep(max(0.0, began_s + seconds - created_s))
    over_s, spent = time.monotonic(), outage.attempts.copy()
    if kind != SOME_ERRORS:
        outage.kind = None
    found = await ends(system, mark, count)
    ended_s = time.monotonic()
    outage.kind = None
    arriving.cancel()
    await asyncio.gather(arriving, return_exceptions=True)
    opened = (system.logs / "step.retrieve.log").read_text("utf-8").count("breaker_opened")
    calls = outage.attempts
    retries = sum(times for attempt, times in calls.items() if attempt > 1)
    print(f"\n{kind}: {count} tasks, {over_s - began_s:.0f} s")
    print(f"  calls in that time: {spent.total()}; until all had ended: {calls.total()}")
    print(f"  retries: {retries}, {retries / calls.total():.1%} of the calls")
    print(f"  times that its breaker has opened since the start: {opened}")
    print(f"  ends: {dict(found)}, {ended_s - over_s:.0f} s later")
    if kind == SOME_ERRORS:
        # Its tasks run at full speed: what others lose is the cores, not the service.
        above = above_budget(outage.calls)
        print(f"  retries above the budget of any minute: {above}")
        return not opened and above <= SLOTS
    before_s = others.median_s(quiet_s, began_s - 1)
    # The router and the sink take the new tasks first, on the same cores.
    beside_s = others.median_s(created_s + seconds / 4, over_s)
    print(
        f"  other tasks, median: {before_s * 1000:.0f} ms before, {beside_s * 1000:.0f} ms beside"
        f" it, {beside_s / before_s:.2f} times"
    )
    return found["completed"] == count and beside_s <= before_s * SLOWED


async def measure(count: int, seconds: float, kinds: list[str]) -> bool:
    """Every outage, one after the other."""
    good = True
    with bench_folder() as folder:
        async with (
            a_system(folder) as (system, outage),
            httpx.AsyncClient(
                base_url=f"http://{system.http_address}",
                timeout=90,
                limits=httpx.Limits(max_connections=500),
            ) as http,
        ):
            await until_ready(http, system.http_address)
            for kind in kinds:
                good &= await one_outage(system, http, outage, kind, count, seconds)
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    given = parser.parse_args()
    print_machine()
    print(json.dumps({"slots": SLOTS, "others a second": OTHERS_PER_S}))
    if not asyncio.run(measure(given.tasks, given.seconds, given.kinds.split(","))):
        sys.exit("a promise was not kept: see above")
