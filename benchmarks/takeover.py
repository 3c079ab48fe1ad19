"""How long a router needs to take a partition over, and how much memory.

Measures, each in a process of its own, the takeover of one partition

1. from the log alone (no checkpoint yet),
2. from snapshots (a checkpoint at the end of the log),
3. from snapshots and ``--events`` events behind the checkpoint,

beside the bare reading of the same records by aiokafka, as a ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.harness.figures import PACKAGES, record
from benchmarks.harness.machine import print_machine
from orchestrator.local.embedded.kafka import EmbeddedKafka
from schemas.records import CommandKind, Json, Millis, TaskCommand, TaskCreated, TaskEvent, TaskId
from schemas.topics import Topics, TopicsSettings
from streams.kafka.admin import Admin
from streams.kafka.broker_clock import BrokerClock
from streams.kafka.dead_letters import DeadLetters
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Publisher
from streams.ownership.kafka_world import KafkaWorld, WorldParts
from streams.ownership.owned_log import OwnedLog
from streams.ownership.owner import Owner
from streams.ownership.parts import OwnerParts
from streams.ownership.recovery import Recovery
from streams.ownership.settings import RouterSettings
from streams.settings import KafkaSettings
from tasks.apply import apply
from tasks.decide import decide
from tasks.decision import Accepted, Rules
from tasks.inputs import Cause, Commanded, Created, Input
from tasks.pipeline_file import load_pipelines
from tasks.task import Task

_CHUNK = 2_000
_PREFIX = "bench."
# Nobody ends the tasks of this benchmark, so they may take their time.
_RULES = Rules(pipelines=load_pipelines(), default_timeout_ms=24 * 3600 * 1000)


def now() -> Millis:
    return Millis(time.time_ns() // 1_000_000)


@asynccontextmanager
async def a_world(bootstrap: str) -> AsyncIterator[KafkaWorld]:
    kafka = KafkaSettings(bootstrap=bootstrap, request_timeout_s=120)
    topics = Topics(TopicsSettings(prefix=_PREFIX, partitions=1, replication_factor=1))
    publisher = Publisher(kafka, client_id="bench")
    await publisher.open()
    async with LogReader(kafka, client_id="bench") as ends:
        yield KafkaWorld(
            0,
            WorldParts(
                group="bench",
                kafka=kafka,
                topics=topics,
                limits=_RULES.limits,
                publisher=publisher,
                dead_letters=DeadLetters(publisher, group="bench"),
                clock=BrokerClock(publisher, topics.task_state),
                inputs=ends,
                logs=ends,
            ),
        )
    await publisher.close()


def an_owner(world: KafkaWorld, settings: RouterSettings) -> Owner:
    topics = Topics(TopicsSettings(prefix=_PREFIX, partitions=1, replication_factor=1))
    parts = OwnerParts(
        topics=topics, rules=_RULES, settings=settings, clock=now, jitter=random.random
    )
    return Owner(0, parts, world)


class Writer:
    """Fills the log with what an owner would have written."""

    def __init__(self, world: KafkaWorld, topics: Topics) -> None:
        self._world = world
        self._topics = topics
        self._log = OwnedLog(0, world)
        self._tasks: list[Task] = []
        self._offset = 0

    async def open(self) -> None:
        recovery = Recovery(
            pipelines=_RULES.pipelines,
            committed={},
            created_topic=self._topics.task_created,
            events_topic=self._topics.task_events,
            state_topic=self._topics.task_state,
            partitions=1,
        )
        await self._log.take_over(recovery, now)

    async def create(self, count: int) -> None:
        for start in range(0, count, _CHUNK):
            events = []
            for _ in range(min(_CHUNK, count - start)):
                record = TaskCreated(
                    task_id=TaskId(f"task_{uuid.uuid4()}"),
                    tenant_id="bench",
                    type="rag",
                    input=Json('{"query": "' + "x" * 240 + '"}'),
                    created_at=now(),
                )
                event = self._decided(None, Created(self._cause(self._topics.task_created), record))
                self._tasks.append(apply(None, event))
                events.append(self._world.seal_event(event, {}))
            await self._log.append(events)

    async def change(self, count: int) -> None:
        for start in range(0, count, _CHUNK):
            events = []
            for index in range(start, min(start + _CHUNK, count)):
                place = index % len(self._tasks)
                task = self._tasks[place]
                record = TaskCommand(
                    command_id=str(index),
                    task_id=task.task_id,
                    tenant_id="bench",
                    kind=CommandKind.SET_PRIORITY,
                    priority=3 + index % 5,
                    issued_at=now(),
                )
                cause = self._cause(self._topics.task_commands)
                event = self._decided(task, Commanded(cause, record))
                self._tasks[place] = apply(task, event)
                events.append(self._world.seal_event(event, {}))
            await self._log.append(events)

    def _cause(self, topic: str) -> Cause:
        self._offset += 1
        return Cause(topic, 0, self._offset)

    def _decided(self, task: Task | None, given: Input) -> TaskEvent:
        verdict = decide(task, given, now=now(), jitter=0.5, rules=_RULES)
        assert isinstance(verdict, Accepted), verdict
        ours = self._log.ownership
        return msgspec.structs.replace(verdict.event, owner=ours.owner, owner_epoch=ours.epoch)


async def take_over(bootstrap: str, snapshot: bool) -> None:
    """One takeover; prints seconds, CPU seconds and peak MiB. Optionally writes snapshots."""
    async with a_world(bootstrap) as world:
        owner = an_owner(world, RouterSettings(snapshot_events=1 if snapshot else 10**9))
        began, cpu = time.perf_counter(), time.process_time()
        await owner.open()
        took, used = time.perf_counter() - began, time.process_time() - cpu
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{took:.2f} {used:.2f} {peak_mib:.0f}")
        if snapshot:
            await owner.handle([])


async def bare_read(bootstrap: str, names: list[str]) -> float:
    began = time.perf_counter()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, max_partition_fetch_bytes=5 * 1024 * 1024
    )
    await consumer.start()
    for name in names:
        tp = TopicPartition(name, 0)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        end = (await consumer.end_offsets([tp]))[tp]
        while await consumer.position(tp) < end:
            await consumer.getmany(tp, timeout_ms=500)
    await consumer.stop()
    return time.perf_counter() - began


async def commit_all(bootstrap: str, topics: Topics, decided: int) -> None:
    """Commit the inputs as decided, so that nothing is done again, which would be measured, too.

    An owner does not believe in offsets that its inputs do not have: they get as many records.
    """
    inputs = [TopicPartition(name, 0) for name in topics.router_inputs]
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=512 * 1024) as producer:
        for tp in inputs:
            left = decided + 1
            while left:
                batch = producer.create_batch()
                while left and batch.append(key=None, value=b"", timestamp=None) is not None:
                    left -= 1
                await (await producer.send_batch(batch, tp.topic, partition=0))
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id="bench", enable_auto_commit=False
    )
    async with consumer:
        consumer.assign(inputs)
        await consumer.commit(dict.fromkeys(inputs, decided + 1))


def in_a_child(bootstrap: str, *, snapshot: bool) -> tuple[float, float, float]:
    arguments = ["--child", bootstrap, *(["--snapshot"] if snapshot else [])]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.takeover", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    took, cpu, peak = done.stdout.split()[-3:]
    return float(took), float(cpu), float(peak)


async def main(tasks: int, events: int) -> list[list[object]]:
    """The table of the page."""
    print_machine(*PACKAGES)
    rows = []
    topics = Topics(TopicsSettings(prefix=_PREFIX, partitions=1, replication_factor=1))
    with tempfile.TemporaryDirectory() as folder:
        kafka = EmbeddedKafka(Path(folder))
        bootstrap = await kafka.start()
        try:
            async with Admin(KafkaSettings(bootstrap=bootstrap)) as admin:
                await admin.apply(topics.table(_RULES.pipelines.step_names))
            async with a_world(bootstrap) as world:
                writer = Writer(world, topics)
                await writer.open()
                await writer.create(tasks)
            print(f"\n{tasks} live tasks in one partition; a takeover:")
            bare = await bare_read(bootstrap, [topics.task_events])
            await commit_all(bootstrap, topics, max(tasks, events))
            measured = in_a_child(bootstrap, snapshot=True)
            rows.append(row(f"the log alone, {tasks:,} events", measured, bare))
            bare = await bare_read(bootstrap, [topics.task_state])
            measured = in_a_child(bootstrap, snapshot=False)
            what = f"{tasks:,} snapshots, nothing behind the checkpoint"
            rows.append(row(what, measured, bare))
            async with a_world(bootstrap) as world:
                writer = Writer(world, topics)
                await writer.open()
                await writer.create(1_000)
                await writer.change(events - 1_000)
            bare = await bare_read(bootstrap, [topics.task_state, topics.task_events])
            measured = in_a_child(bootstrap, snapshot=False)
            what = f"the snapshots, and {events:,} events behind the checkpoint"
            rows.append(row(what, measured, bare))
        finally:
            await kafka.kill()
    return rows


def row(what: str, measured: tuple[float, float, float], bare_s: float) -> list[object]:
    """A row of the page's table; printed, too."""
    took, cpu, peak = measured
    print(
        f"  {what:60} {took:7.2f} s  ({cpu:6.2f} s CPU)  {peak:5.0f} MiB peak"
        f"  {took / bare_s:5.1f} x bare reading ({bare_s:.2f} s)",
        flush=True,
    )
    return [what, took, cpu, round(peak), f"{took / bare_s:.1f} x"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--record", action="store_true", help="keep the figures")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--snapshot", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        asyncio.run(take_over(given.child, given.snapshot))
    else:
        found = asyncio.run(main(given.tasks, given.events))
        if given.record:
            head = ["what is read", "seconds", "CPU seconds", "peak MiB"]
            head.append("against bare reading by aiokafka")
            record("takeover", {"head": head, "rows": found})
