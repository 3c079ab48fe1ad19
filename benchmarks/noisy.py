"""How much a noisy tenant slows another tenant's calls down, each figure beside its quiet value.

A whole system on one machine. The quiet tenant creates, reads and lists at a steady rate, first
alone. Then a noisy tenant does at the same time what one caller can do worst: 600 tasks of the
highest priority, 37 MB of held inputs, 40 letters read in parallel, nested bodies of 8 MB.

The noisy tenant's own process gives way to all others: it stands for another machine, and what it
takes to make the noise is not what the noise does to the service.

    python -m benchmarks.noisy
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx

from benchmarks.harness.deployment import running_servers
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.quantile import quantile
from benchmarks.harness.ready import until_ready
from orchestrator.api.access.keys import key_hash
from orchestrator.local.dev.system import DEV_DEFAULTS, System, open_system
from orchestrator.local.embedded.process import Child
from orchestrator.settings import load_settings

KEYS = {name: f"orch_{name}" for name in ("quiet", "noisy")}
EVERY_S = 0.1
"""The quiet tenant makes one round of calls this often."""
BAR = 2.0
"""The largest ratio of the p95 of the quiet tenant's calls that is aimed at."""
TASK = {"type": "rag", "input": {"query": "What is a lane?"}}
_NICE = 19
NESTED_BYTES = 8 * 1024 * 1024 - 1024
HELD_BYTES = 37 * 1024 * 1024
INPUT_BYTES = 200 * 1024
KINDS = ("tasks", "held", "letters", "nested")
Times = dict[str, list[float]]


@asynccontextmanager
async def a_system(folder: Path) -> AsyncIterator[System]:
    """Real servers, and every role as a process."""
    async with AsyncExitStack() as stack:
        kafka, postgres = await stack.enter_async_context(running_servers(folder))
        environment = {
            "ORCH_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "ORCH_POSTGRES_DSN": postgres.dsn,
            "ORCH_API_KEYS": ",".join(f"{name}:{key_hash(key)}" for name, key in KEYS.items()),
            "ORCH_LOG_LEVEL": "warning",
            # Letters of the noisy tenant to read.
            "ORCH_DEMO_FAULTS": json.dumps(
                [{"tenant": "noisy", "service": "retrieval", "status": "INVALID_ARGUMENT"}]
            ),
        }
        settings = load_settings(environment, DEV_DEFAULTS)
        system = open_system(settings, environment=environment, logs=folder)
        yield await stack.enter_async_context(system)


def client(address: str, tenant: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://{address}",
        headers={"authorization": f"Bearer {KEYS[tenant]}"},
        timeout=60,
        limits=httpx.Limits(max_connections=200),
    )


async def quiet_calls(http: httpx.AsyncClient, seconds: float) -> Times:
    """The times of each kind of call of the quiet tenant, in seconds; every call is answered."""
    times: Times = defaultdict(list)
    rounds = set[asyncio.Task[None]]()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        rounds.add(asyncio.create_task(quiet_round(http, times)))
        await asyncio.sleep(EVERY_S)
    await asyncio.gather(*rounds)
    return times


async def quiet_round(http: httpx.AsyncClient, times: Times) -> None:
    async def timed(kind: str, call: Awaitable[httpx.Response]) -> httpx.Response:
        begun = time.perf_counter()
        answer = await call
        times[kind].append(time.perf_counter() - begun)
        if not answer.is_success:
            raise RuntimeError(f"{kind} was answered with {answer.status_code}: {answer.text}")
        return answer

    created = await timed("create", http.post("/api/v1/tasks", json=TASK))
    await timed("get", http.get(f"/api/v1/tasks/{created.json()['task']['id']}"))
    await timed("list", http.get("/api/v1/tasks?page_size=20"))
    await timed("letters", http.get("/api/v1/dead-letters"))


async def letters_of(http: httpx.AsyncClient) -> list[str]:
    """Some letters of the noisy tenant, as soon as there are any."""
    async with asyncio.timeout(60):
        while True:
            found = (await http.get("/api/v1/dead-letters")).json().get("dead_letters", [])
            if len(found) >= 40:
                return [letter["id"] for letter in found]
            if not found:
                batch = {"tasks": [TASK] * 40}
                (await http.post("/api/v1/tasks:batch", json=batch)).raise_for_status()
            await asyncio.sleep(1)


class Noise:
    """What the noisy tenant does, until it is stopped, and how it was answered."""

    def __init__(self, http: httpx.AsyncClient, letters: list[str]) -> None:
        self.answers: Counter[str] = Counter()
        self._http = http
        self._letters = letters

    async def run(self, kinds: Sequence[str]) -> None:
        """Make these kinds of noise at the same time."""
        async with asyncio.TaskGroup() as group:
            for kind in kinds:
                for work in self._work(kind):
                    group.create_task(work)

    def _work(self, kind: str) -> list[Coroutine[object, object, None]]:
        if kind == "tasks":
            return [self._again(kind, self._flood, times=iter(range(1)))]
        if kind == "held":
            held = {**TASK, "hold": True, "input": {"query": "x" * INPUT_BYTES}}
            times = iter(range(HELD_BYTES // INPUT_BYTES))
            return [self._again(kind, lambda: self._post("/api/v1/tasks", held), times=times)]
        if kind == "letters":
            paths = [f"/api/v1/dead-letters/{self._letters[number]}" for number in range(40)]
            return [self._again(kind, partial(self._http.get, path)) for path in paths]
        nested = b'{"tasks":[' + b"[]," * (NESTED_BYTES // 3) + b"[]]}"
        send = partial(self._send, "/api/v1/tasks:batch", nested)
        return [self._again(kind, send) for _ in range(4)]

    async def _again(
        self,
        what: str,
        call: Callable[[], Awaitable[httpx.Response]],
        times: Iterator[int] | None = None,
    ) -> None:
        while times is None or next(times, None) is not None:
            try:
                self.answers[f"{what}: {(await call()).status_code}"] += 1
            except httpx.TransportError as error:
                self.answers[f"{what}: {type(error).__name__}"] += 1

    async def _flood(self) -> httpx.Response:
        return await self._post("/api/v1/tasks:batch", {"tasks": [{**TASK, "priority": 10}] * 600})

    async def _post(self, path: str, body: object) -> httpx.Response:
        return await self._http.post(path, json=body)

    async def _send(self, path: str, body: bytes) -> httpx.Response:
        headers = {"content-type": "application/json"}
        return await self._http.post(path, content=body, headers=headers)


def p95_ms(times: list[float]) -> float:
    return quantile(times, 0.95) * 1000


def show(quiet: Times, beside: Times) -> bool:
    """Print the table; return whether every ratio is within the bar."""
    print(f"\n{'call':10} {'calls':>6} {'alone p95 ms':>13} {'beside noise p95 ms':>20} ratio")
    good = True
    for kind, times in beside.items():
        before, after = p95_ms(quiet[kind]), p95_ms(times)
        ratio = after / before
        good &= ratio <= BAR
        print(f"{kind:10} {len(times):6} {before:13.1f} {after:20.1f} {ratio:5.2f}")
    print(f"\nbar: {BAR} x")
    return good


async def make_noise(address: str, kinds: Sequence[str]) -> None:
    """Be the noisy tenant until SIGTERM, then print how the calls were answered."""
    # Callers have machines of their own: what this process computes is not the service's work.
    os.nice(10)
    async with client(address, "noisy") as http:
        noise = Noise(http, await letters_of(http))
        running = asyncio.create_task(noise.run(kinds))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        await asyncio.wait([running])
        print(json.dumps(noise.answers), flush=True)


async def measure(seconds: float, kinds: Sequence[str]) -> bool:
    """Measure alone, then beside the noise, which has a process of its own."""
    with bench_folder() as folder:
        async with a_system(folder) as system, client(system.http_address, "quiet") as http:
            await until_ready(http, system.http_address)
            async with client(system.http_address, "noisy") as noisy:
                await letters_of(noisy)
            await quiet_calls(http, 3)
            alone = await quiet_calls(http, seconds)
            noise = Child(
                "noise",
                [
                    *(sys.executable, "-m", "benchmarks.noisy"),
                    *("--noise", system.http_address, "--kinds", ",".join(kinds)),
                ],
                env=dict(os.environ),
                log_path=folder / "noise.log",
            )
            noise.start()
            await asyncio.sleep(2)
            beside = await quiet_calls(http, seconds)
            await noise.stop(10)
            good = show(alone, beside)
            print("\nanswers to the noisy tenant:")
            for what, count in sorted(json.loads(noise.log_tail(1)).items()):
                print(f"  {what}: {count}")
            return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--noise", metavar="ADDRESS", help="be the noisy tenant")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of noise; all by default")
    given = parser.parse_args()
    chosen = given.kinds.split(",")
    if given.noise:
        os.nice(_NICE)
        asyncio.run(make_noise(given.noise, chosen))
    else:
        print_machine("uvicorn", "starlette")
        asyncio.run(measure(given.seconds, chosen))
