"""What the service costs, each figure beside its floor in the same run.

A real Kafka and Postgres, the roles of a one-step pipeline whose service does nothing, one
replica of the service, and the floors of ``api_floor.py``, each a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.api_floor import ECHO_TOPIC, METHOD, TOPICS
from benchmarks.harness.deployment import running_servers
from benchmarks.harness.figures import PACKAGES, record
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.processes import cpu_s, rss_mib
from orchestrator.layout import topic_table
from orchestrator.local.embedded.process import Child
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings, load_settings
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorStub
from schemas.gen.services.v1 import step_service_pb2, step_service_pb2_grpc
from schemas.topics import Topic, Topics
from sinks.schema.migrate import migrate_up
from streams.kafka.admin import Admin
from tests.api.calling import free_ports

PIPELINE = """
pipeline: noop
version: 1
steps:
  - name: noop
    service: noop
    method: Nothing
    timeout_s: 10
    input: {}
output: $.steps.noop
"""
CONCURRENCY = 64
Row = tuple[str, str, str, str, str]
"""What, measured, its floor, the ratio, and what is aimed at."""
ROLES = ("router", "sink", "step.noop")


class Noop(step_service_pb2_grpc.StepServiceServicer):
    async def Run(self, request: Any, context: Any) -> Any:  # noqa: N802  # as in the proto
        return step_service_pb2.RunResponse(output="{}")

    async def RunStream(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        yield step_service_pb2.RunEvent(response=await self.Run(request, context))


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running system, and the ports of its service and of the floors."""

    settings: Settings
    grpc_port: int
    http_port: int
    bare_grpc: int
    bare_http: int
    serve: Child
    """The process of the service."""
    bare: Child
    """The process of the first floor."""


@asynccontextmanager
async def a_site(
    folder: Path,
    *,
    roles: Sequence[str] = ROLES,
    floors: Sequence[str] = ("echo", "hops"),
    variables: Mapping[str, str] | None = None,
) -> AsyncIterator[Site]:
    """Servers, roles, one replica and the floors; ``variables`` are for the roles and it."""
    async with AsyncExitStack() as stack:
        kafka, postgres = await stack.enter_async_context(running_servers(folder))
        grpc_port, http_port, noop_port, bare_grpc, bare_http = free_ports(5)
        (folder / "noop.yaml").write_text(PIPELINE)
        environment = {
            "ORCH_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "ORCH_POSTGRES_DSN": postgres.dsn,
            "ORCH_TOPICS_PARTITIONS": "4",
            "ORCH_TOPICS_REPLICATION_FACTOR": "1",
            "ORCH_PIPELINES_DIR": str(folder),
            "ORCH_SERVICES_EXTRA": f"noop=grpc://127.0.0.1:{noop_port}",
            "ORCH_API_GRPC_PORT": str(grpc_port),
            "ORCH_API_HTTP_PORT": str(http_port),
            "ORCH_LOG_LEVEL": "warning",
            # All callers here are one tenant.
            "ORCH_API_LIMITS_TENANT_STREAMS_MAX": "3000",
            "ORCH_API_LIMITS_TENANT_LIVE_TASKS_MAX": "1000000",
            "ORCH_API_LIMITS_CONNECTIONS_MAX": "3000",
            "ORCH_API_LIMITS_GRPC_STREAMS_MAX": "1000",
            **(variables or {}),
        }
        settings = load_settings(environment)
        pipelines = installed_pipelines(settings.pipelines)
        names = (ECHO_TOPIC, *TOPICS)
        async with Admin(settings.kafka) as admin:
            await admin.apply([*topic_table(settings, pipelines), *map(a_topic, names)])
        await migrate_up(postgres.dsn)
        noop = grpc.aio.server()
        step_service_pb2_grpc.add_StepServiceServicer_to_server(Noop(), noop)
        noop.add_insecure_port(f"127.0.0.1:{noop_port}")
        await noop.start()
        stack.push_async_callback(noop.stop, 0)

        def child(name: str, *words: str) -> Child:
            log = folder / f"{name}.log"
            made = Child(
                name,
                [sys.executable, "-m", *words],
                env={**os.environ, **environment},
                log_path=log,
            )
            made.start()
            stack.push_async_callback(made.stop, 5)
            return made

        for role in roles:
            child(role, "orchestrator", "worker", role)
        serve = child("serve", "orchestrator", "serve")
        words = {
            "echo": (kafka.bootstrap, str(bare_grpc)),
            "hops": (kafka.bootstrap,),
            "fanout": (kafka.bootstrap, Topics(settings.topics).stream, bare_grpc, bare_http),
        }
        bare = [
            child(floor, "benchmarks.api_floor", floor, *map(str, words[floor])) for floor in floors
        ]
        yield Site(
            settings=settings,
            grpc_port=grpc_port,
            http_port=http_port,
            bare_grpc=bare_grpc,
            bare_http=bare_http,
            serve=serve,
            bare=bare[0],
        )


def a_topic(name: str) -> Topic:
    return Topic(
        name=name,
        record=None,
        written_by="",
        read_by="",
        partitions=1,
        replication_factor=1,
        max_bytes=1_000_000,
        retention_ms=3_600_000,
    )


async def rate(call: Callable[[], Awaitable[object]], calls: int) -> float:
    """Calls in a second at the concurrency, after a warm-up of a tenth."""

    async def lane(count: int) -> None:
        for _ in range(count):
            await call()

    async def run(count: int) -> float:
        began = time.perf_counter()
        await asyncio.gather(*(lane(count // CONCURRENCY) for _ in range(CONCURRENCY)))
        return count // CONCURRENCY * CONCURRENCY / (time.perf_counter() - began)

    await run(max(CONCURRENCY, calls // 10))
    return await run(calls)


async def bench_create(stub: Any, echo: Any, site: Site, calls: int) -> list[Row]:
    """The rate, for which the roles take their share of the cores, and the CPU of the process."""
    request = pb.CreateTaskRequest(type="noop", input="{}", hold=True)
    message = request.SerializeToString()
    rounds, spent_ms = [], []
    for _ in range(3):
        before = _cpu_s(site)
        floor = await rate(lambda: echo(message), calls)
        ours = await rate(lambda: stub.CreateTask(request), calls)
        after = _cpu_s(site)
        rounds.append((ours, floor, ours / floor))
        calls_with_warm_up = 1.1 * calls
        spent_ms.append(
            [(b - a) * 1000 / calls_with_warm_up for a, b in zip(before, after, strict=True)]
        )
    ours, floor, part = sorted(rounds, key=lambda row: row[2])[1]
    ours_ms, floor_ms = sorted(spent_ms, key=lambda row: row[0] / row[1])[1]
    what = f"`CreateTask` at concurrency {CONCURRENCY}"
    bare = "a bare `grpc.aio` echo that awaits one produce"
    return [
        (what, f"{ours:,.0f}/s", f"{floor:,.0f}/s, {bare}", f"{part:.0%}", "65 %"),
        (
            f"{what}, CPU of the service for a call",
            f"{ours_ms:.2f} ms",
            f"{floor_ms:.2f} ms, the echo's",
            f"{ours_ms / floor_ms:.2f} x",
            "",
        ),
    ]


def _cpu_s(site: Site) -> tuple[float, float]:
    """Of the service, and of the echo."""
    return cpu_s(site.serve.pid or 0), cpu_s(site.bare.pid or 0)


async def bench_batch(stub: Any, batches: int) -> Row:
    tasks = [pb.CreateTaskRequest(type="noop", input="{}", hold=True) for _ in range(1_000)]
    request = pb.BatchCreateTasksRequest(tasks=tasks)
    await stub.BatchCreateTasks(request)
    began = time.perf_counter()
    for _ in range(batches):
        await stub.BatchCreateTasks(request)
    each_s = batches * 1_000 / (time.perf_counter() - began)
    return ("`BatchCreateTasks`", f"{each_s:,.0f} tasks/s", "", "", "5,000 tasks/s")


async def bench_execute(stub: Any, bootstrap: str, calls: int) -> Row:
    request = pb.CreateTaskRequest(type="noop", input="{}")
    ours, floor = [], []
    async with (
        AIOKafkaProducer(
            bootstrap_servers=bootstrap, acks="all", enable_idempotence=True
        ) as producer,
        AIOKafkaConsumer(TOPICS[-1], bootstrap_servers=bootstrap) as consumer,
    ):
        await consumer.seek_to_end()
        for number in range(calls + 10):
            began = time.perf_counter()
            await producer.send_and_wait(TOPICS[0], b"x" * 300)
            await consumer.getone()
            between = time.perf_counter()
            await stub.CreateAndExecuteTask(request)
            if number >= 10:
                floor.append((between - began) * 1000)
                ours.append((time.perf_counter() - between) * 1000)
    p50, raw = statistics.median(ours), statistics.median(floor)
    bare = f"{raw:.1f} ms, a raw round trip of four hops"
    what = "create-and-execute, one no-op step, p50"
    return (what, f"{p50:.1f} ms", bare, f"{p50 / raw:.2f} x", "1.7 x")


async def bench_watchers(stub: Any, watchers: int) -> Row:
    """From the answer of the command that brings an event about to its arrival: an upper bound
    is measured from before the command."""
    made = await stub.CreateTask(pb.CreateTaskRequest(type="noop", input="{}", hold=True))
    request = pb.WatchTaskRequest(task_id=made.task.id)
    calls = [stub.WatchTask(request) for _ in range(watchers)]
    for call in calls:
        assert (await call.read()).event.sequence == 1
    delays: list[float] = []
    for priority in (1, 9, 2, 8, 3):
        began = time.perf_counter()

        async def arrived(call: Any, began: float = began) -> None:
            while not (await call.read()).HasField("event"):
                pass
            delays.append((time.perf_counter() - began) * 1000)

        change = pb.SetTaskPriorityRequest(task_id=made.task.id, priority=priority)
        await asyncio.gather(stub.SetTaskPriority(change), *(arrived(call) for call in calls))
    for call in calls:
        call.cancel()
    p95 = statistics.quantiles(delays, n=20)[-1]
    what = f"command to event at {watchers} watchers of a task, p95"
    return (what, f"{p95:.1f} ms", "", "", "")


async def bench_memory(stub: Any, serve: Child, tasks: int) -> Row:
    assert serve.pid is not None
    before = rss_mib(serve.pid)
    wanted = [pb.CreateTaskRequest(type="noop", input="{}", hold=True) for _ in range(1_000)]
    last = ""
    for _ in range(tasks // 1_000):
        answer = await stub.BatchCreateTasks(pb.BatchCreateTasksRequest(tasks=wanted))
        last = answer.tasks[-1].task.id
    async with asyncio.timeout(600):
        wanted_task = pb.GetTaskRequest(task_id=last)
        while (await stub.GetTask(wanted_task)).task.sequence < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.5)  # it happens in another process
    after = rss_mib(serve.pid)
    what = f"memory of a replica, before and after {tasks:,} live tasks"
    each = f"{(after - before) * 1024 / tasks:.2f} KiB a task"
    return (what, f"{before:.0f} MiB, {after:.0f} MiB", "", each, "")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=6_400)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--executes", type=int, default=200)
    parser.add_argument("--watchers", type=int, default=500)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--record", action="store_true", help="keep the figures")
    given = parser.parse_args()
    print_machine(*PACKAGES)
    with bench_folder() as folder:
        async with a_site(folder) as site:
            options = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]
            async with (
                grpc.aio.insecure_channel(f"127.0.0.1:{site.grpc_port}", options) as channel,
                grpc.aio.insecure_channel(f"127.0.0.1:{site.bare_grpc}") as bare,
            ):
                stub: Any = OrchestratorStub(channel)
                await asyncio.wait_for(channel.channel_ready(), 180)
                await asyncio.wait_for(bare.channel_ready(), 60)
                warm = pb.CreateTaskRequest(type="noop", input="{}")
                await stub.CreateAndExecuteTask(warm, timeout=120)
                rows = [
                    await bench_execute(stub, site.settings.kafka.bootstrap, given.executes),
                    *await bench_create(stub, bare.unary_unary(METHOD), site, given.calls),
                    await bench_watchers(stub, given.watchers),
                    await bench_batch(stub, given.batches),
                    await bench_memory(stub, site.serve, given.tasks),
                ]
    for row in rows:
        print(" | ".join(filter(None, row)))
    if given.record:
        record("api", {"head": ["", "measured", "floor", "ratio", "aim"], "rows": rows})


if __name__ == "__main__":
    uvloop.run(main())
