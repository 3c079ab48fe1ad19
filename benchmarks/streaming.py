"""From the log's record of a token to the clients that watch its task, beside two floors.

A worker's tokens are records of ``stream.v1``. This program publishes such records itself and
notes when each client has each of them: the first token after a silence, and the next ones. The
clients watch over gRPC or over server-sent events, all of them one task, or each a task of its own.

The floors get the same records in the same run: a bare consumer, which is what Kafka takes, and
bare servers that only pass each record on to as many clients (``api_floor.py``), which is what the
connections and the clients take. All clients live in this one process.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import uvloop
from aiokafka import AIOKafkaConsumer

from benchmarks.api import Site, a_site
from benchmarks.api_floor import WATCH
from benchmarks.harness.figures import PACKAGES, record
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.processes import cpu_s
from benchmarks.harness.quantile import quantile
from orchestrator.api.access.keys import key_hash, new_key
from orchestrator.local.embedded.process import Child
from schemas.codec import decode
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorStub
from schemas.records import ChunkKind, StepName, StreamChunk, TaskId
from schemas.topics import Topics
from streams.clock import now_ms
from streams.envelopes import chunk_record
from streams.kafka.partitioner import partition_of
from streams.kafka.publisher import Publisher

STREAMS_OF_A_CONNECTION = 100
"""Below the limit of the service."""
SILENCE_S = 0.5
END_S = 60.0
HEAD = (
    "",
    "first token",
    "next tokens",
    "floor: bare servers",
    "floor: one bare consumer",
    "CPU of the service, and of the bare server, for a token at a client",
)
KEY = new_key(b"streams of benchmarks, 32 bytes.")
VARIABLES = {
    # With a key as in production: each stream then ends when its key does.
    "ORCH_API_KEYS": f"default:{key_hash(KEY)}",
    "ORCH_API_LIMITS_REQUESTS_PER_S": "10000",
    "ORCH_API_LIMITS_REQUESTS_BURST": "10000",
}
HEADER = (("authorization", f"Bearer {KEY}"),)

Watch = Callable[[str, "Arrivals"], Coroutine[Any, Any, None]]
"""Watches a task until it is cancelled."""


@dataclass(slots=True)
class Arrivals:
    """When the tokens of one measurement reached its clients."""

    wanted: int = 0
    watching: int = 0
    at_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By token."""
    whole: asyncio.Event = field(default_factory=asyncio.Event)

    def opened(self) -> None:
        """A client learned that its stream is open."""
        self.watching += 1

    def note(self, token: str) -> None:
        """A client has a token."""
        arrived = self.at_s[token]
        arrived.append(time.perf_counter())
        if len(arrived) == self.wanted:
            self.whole.set()


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds from before a token was published until a client had it."""

    first: Sequence[float]
    later: Sequence[float]
    cpu_us: float
    """Of the server, microseconds for each token at each client."""


class Tokens:
    """Publishes tokens as a worker does."""

    def __init__(self, topics: Topics, publisher: Publisher) -> None:
        self._topics = topics
        self._publisher = publisher
        self._index = 0

    async def send(self, task_ids: Sequence[str]) -> str:
        """Publish one token for each task; return its text."""
        self._index += 1
        token = f"token {self._index}"
        made = [
            chunk_record(
                self._topics,
                partition_of(task_id.encode(), self._topics.settings.partitions),
                StreamChunk(
                    task_id=TaskId(task_id),
                    step=StepName("noop"),
                    index=self._index,
                    kind=ChunkKind.TEXT,
                    data=token,
                    at=now_ms(),
                ),
            )
            for task_id in task_ids
        ]
        await self._publisher.publish(made)
        return token


async def measure(
    watch: Watch, watched: Sequence[str], tokens: Tokens, rounds: int, later: int, server: Child
) -> Delays:
    """The delays of tokens at one client for each entry of ``watched``."""
    arrivals = Arrivals(wanted=len(watched))
    clients = [asyncio.create_task(watch(task_id, arrivals)) for task_id in watched]
    first, following = list[float](), list[float]()
    try:
        async with asyncio.timeout(END_S):
            while arrivals.watching < len(watched):
                # Opened by the answers of another process.
                done, _ = await asyncio.wait(
                    clients, timeout=0.05, return_when=asyncio.FIRST_COMPLETED
                )
                for client in done:
                    raise RuntimeError("a stream ended") from client.exception()
        of_tasks, spent_s = list(dict.fromkeys(watched)), 0.0
        for number in range(rounds * (1 + later)):
            is_first = number % (1 + later) == 0
            if is_first:
                await asyncio.sleep(SILENCE_S)
            if number == 1 + later:  # the first round warmed up
                spent_s = cpu_s(server.pid or 0)
            arrivals.whole.clear()
            began = time.perf_counter()
            token = await tokens.send(of_tasks)
            async with asyncio.timeout(END_S):
                await arrivals.whole.wait()
            delays = [at - began for at in arrivals.at_s.pop(token)]
            if number >= 1 + later:
                (first if is_first else following).extend(delays)
        spent_s = cpu_s(server.pid or 0) - spent_s
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    return Delays(first, following, spent_s / (len(first) + len(following)) * 1e6)


def over_grpc(calls: Sequence[Any], token_of: Callable[[Any], str | None]) -> Watch:
    """Clients over gRPC, on several connections in turn. ``token_of`` an item; "" opens."""
    turn = iter(range(10**9))

    async def watch(task_id: str, arrivals: Arrivals) -> None:
        call = calls[next(turn) % len(calls)](task_id)
        open_yet = False
        async for item in call:
            token = token_of(item)
            if not open_yet:
                open_yet = True
                arrivals.opened()
            if token:
                arrivals.note(token)

    return watch


def calls_of_service(stub: Any) -> Callable[[str], Any]:
    return lambda task_id: stub.WatchTask(pb.WatchTaskRequest(task_id=task_id), metadata=HEADER)


def calls_of_floor(channel: grpc.aio.Channel) -> Callable[[str], Any]:
    watch: Any = channel.unary_stream(WATCH)
    return lambda key: watch(key.encode(), wait_for_ready=True)


def over_sse(port: int, path: str, token_of: Callable[[bytes], str | None]) -> Watch:
    """Clients over server-sent events, each on its own connection."""

    async def watch(task_id: str, arrivals: Arrivals) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(OSError):
            head = f"GET {path.format(task_id)} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: {KEY}"
            writer.write(f"{head}\r\n\r\n".encode())
            while not (await reader.readline()).startswith(b": open"):
                if reader.at_eof():
                    raise RuntimeError("the stream was refused")
            arrivals.opened()
            try:
                while line := await reader.readline():
                    if token := token_of(line):
                        arrivals.note(token)
            finally:
                writer.close()

    return watch


async def bare_consumer(bootstrap: str, topic: str, arrivals: Arrivals) -> None:
    """Note each record of the topic as it is read."""
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap) as consumer:
        await consumer.seek_to_end()
        arrivals.opened()
        async for read in consumer:
            arrivals.note(decode(read.value, StreamChunk).data)


def of_ours(item: pb.WatchTaskResponse) -> str | None:
    return item.chunk.data if item.HasField("chunk") else None


def of_frame(line: bytes) -> str | None:
    """The token in a line of an event stream; both kinds of servers send the text as it is."""
    at = line.find(b"token ") if line.startswith(b"data:") else -1
    return None if at < 0 else line[at:].split(b'"', 1)[0].decode().strip()


@asynccontextmanager
async def channels(port: int, count: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    """Connections of their own to one server."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options))
            for _ in range(count)
        ]


def a_row(what: str, ours: Delays, bare: Delays, consumer: Delays) -> tuple[str, ...]:
    """Milliseconds, p50 · p95 · p99."""

    def said(delays: Sequence[float]) -> str:
        return " · ".join(f"{quantile(delays, q) * 1000:.1f}" for q in (0.5, 0.95, 0.99)) + " ms"

    floor = f"{said(bare.first)}; {said(bare.later)}"
    return (
        what,
        f"{said(ours.first)} ({_ratio(ours.first, bare.first)})",
        f"{said(ours.later)} ({_ratio(ours.later, bare.later)})",
        floor,
        f"{said(consumer.first)}; {said(consumer.later)}",
        f"{ours.cpu_us:.0f} µs, {bare.cpu_us:.0f} µs",
    )


def _ratio(ours: Sequence[float], bare: Sequence[float]) -> str:
    return f"{quantile(ours, 0.5) / quantile(bare, 0.5):.2f} x"


async def bench(site: Site, watchers: int, rounds: int, later: int) -> list[tuple[str, ...]]:
    """One row for each transport and way of watching."""
    topics = Topics(site.settings.topics)
    publisher = Publisher(site.settings.kafka, client_id="bench-tokens")
    await publisher.open()
    tokens = Tokens(topics, publisher)
    count = -(-watchers // STREAMS_OF_A_CONNECTION)
    async with channels(site.grpc_port, count) as ours, channels(site.bare_grpc, count) as bare:
        stubs: list[Any] = [OrchestratorStub(channel) for channel in ours]
        held = pb.CreateTaskRequest(type="noop", input="{}", hold=True)
        batch = pb.BatchCreateTasksRequest(tasks=[held] * watchers)
        made = await stubs[0].BatchCreateTasks(
            batch, wait_for_ready=True, timeout=END_S, metadata=HEADER
        )
        ids = [answer.task.id for answer in made.tasks]
        rpc = over_grpc([calls_of_service(stub) for stub in stubs], of_ours)
        bare_rpc = over_grpc([calls_of_floor(channel) for channel in bare], bytes.decode)
        sse = over_sse(site.http_port, "/api/v1/tasks/{}/events", of_frame)
        bare_sse = over_sse(site.bare_http, "/{}", of_frame)

        async def consumer(_: str, arrivals: Arrivals) -> None:
            await bare_consumer(site.settings.kafka.bootstrap, topics.stream, arrivals)

        alone = await measure(consumer, ids[:1], tokens, rounds, later, site.bare)
        rows = []
        for name, watch, floor in (("gRPC", rpc, bare_rpc), ("SSE", sse, bare_sse)):
            for way, watched in (("of one task", ids[:1] * watchers), ("of a task each", ids)):
                of_bare = await measure(floor, watched, tokens, rounds, later, site.bare)
                of_us = await measure(watch, watched, tokens, rounds, later, site.serve)
                rows.append(a_row(f"{name}, {watchers} watchers {way}", of_us, of_bare, alone))
                print(" | ".join(rows[-1]), flush=True)
    await publisher.close()
    return rows


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5, help="the first one warms up")
    parser.add_argument("--later", type=int, default=8, help="tokens after a first one")
    parser.add_argument("--record", action="store_true", help="keep the figures")
    given = parser.parse_args()
    print_machine(*PACKAGES)
    with bench_folder() as folder:
        async with a_site(
            folder, roles=("router",), floors=("fanout",), variables=VARIABLES
        ) as site:
            rows = await bench(site, given.watchers, given.rounds, given.later)
    if given.record:
        record("streaming", {"head": HEAD, "rows": rows})


if __name__ == "__main__":
    uvloop.run(main())
