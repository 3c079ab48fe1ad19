"""The generator of an open loop: creates tasks at the times of a Poisson process.

It waits for nobody: a task that is late to be sent, because this process or the broker was
busy, keeps its scheduled time. Writes ``{"scheduled": {id: Unix seconds}, ...}`` as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
import uuid
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from benchmarks.harness.deployment import Deployment
from benchmarks.harness.quantile import quantile
from benchmarks.harness.workload import TWO_STEPS, TYPE, Work
from schemas.codec import encode
from schemas.records import Json, Millis, TaskCreated, TaskId
from schemas.topics import Topics, TopicsSettings
from streams.kafka.partitioner import partition_of
from streams.kafka.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings

_HEAD_START_S = 0.3
_CHUNK_BYTES = 1_280_000
"""How much is encoded before it is sent."""
_GRACE_S = 60.0


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Seconds from the start of each arrival, ascending."""
    draw = random.Random(seed)
    expected = int(rate * seconds)
    return list(accumulate(draw.expovariate(rate) for _ in range(expected)))


def a_task(task_id: str, given: Json = TWO_STEPS.input) -> TaskCreated:
    """A task of the ``bench`` pipeline that is created now."""
    return TaskCreated(
        task_id=TaskId(task_id),
        tenant_id=TYPE,
        type=TYPE,
        input=given,
        timeout_ms=3_600_000,
        created_at=Millis(time.time_ns() // 1_000_000),
    )


def outgoing(
    topics: Topics, partitions: int, task_ids: Sequence[str], work: Work = TWO_STEPS
) -> list[Outgoing]:
    """The records that create these tasks."""
    keys = [task_id.encode() for task_id in task_ids]
    return [
        Outgoing(
            topic=topics.task_created,
            partition=partition_of(key, partitions),
            key=key,
            value=encode(a_task(task_id, work.input)),
        )
        for task_id, key in zip(task_ids, keys, strict=True)
    ]


async def create(at: Deployment, tasks: int) -> list[str]:
    """Create tasks at once; their ids, when the broker has them."""
    ids = [f"task_{uuid.uuid4()}" for _ in range(tasks)]
    topics, partitions = Topics(at.settings.topics), at.settings.topics.partitions
    chunk = max(1, _CHUNK_BYTES // at.work.payload_bytes)
    publisher = Publisher(at.settings.kafka, client_id="generator")
    await publisher.open()
    for start in range(0, tasks, chunk):
        some = ids[start : start + chunk]
        await publisher.publish(outgoing(topics, partitions, some, at.work))
    await publisher.close()
    return ids


async def generate(given: argparse.Namespace) -> dict[str, object]:
    topics = Topics(TopicsSettings(prefix=given.prefix, partitions=given.partitions))
    publisher = Publisher(KafkaSettings(bootstrap=given.bootstrap), client_id="generator")
    await publisher.open()
    # Known to the producer before the first arrival.
    await publisher.partitions(topics.task_created)
    began = time.time() + _HEAD_START_S
    due = [began + after for after in poisson(given.rate, given.seconds, given.seed)]
    ids = [f"task_{uuid.uuid4()}" for _ in due]
    late: list[float] = []
    async with asyncio.timeout(due[-1] - began + _GRACE_S), asyncio.TaskGroup() as sends:
        while len(late) < len(due):
            first, now = len(late), time.time()
            late += [now - at for at in due[first : bisect_right(due, now)]]
            if len(late) > first:
                records = outgoing(topics, given.partitions, ids[first : len(late)])
                sends.create_task(publisher.publish(records))
            if len(late) < len(due):
                await asyncio.sleep(max(0.0, due[len(late)] - time.time()))
    await publisher.close()
    return {
        "scheduled": dict(zip(ids, due, strict=True)),
        "late_p99_ms": quantile(late, 0.99) * 1000,
        "cpu_s": time.process_time(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.write_text(json.dumps(asyncio.run(generate(arguments))), "utf-8")
