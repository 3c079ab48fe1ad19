"""The raw chain without a codec: as many records of the same sizes, whose content nobody reads.

A record is its hop in one byte, and filling. Beside ``raw.py`` in the same run it tells
what decoding, building and encoding the records costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from aiokafka import ConsumerRecord

from benchmarks.chains.raw import STEPS, Chain, arguments, output_of
from benchmarks.harness.arrivals import a_task
from schemas.codec import encode
from schemas.records import Lane
from schemas.topics import Topics, TopicsSettings

_KEY = "task_00000000-0000-4000-8000-000000000000"
_LAST_EVENT = 2


class BytesChain(Chain):
    """One process of the chain."""

    def __init__(self, topics: Topics, bootstrap: str) -> None:
        super().__init__(topics, bootstrap)
        made = list(self.route(_record(topics.task_created, encode(a_task(_KEY)))))
        events, commands, results = [encode(made[0][1])], [], list[bytes]()
        for _ in STEPS:
            lane, command = made[1]
            commands.append(encode(command))
            ((_, result),) = self.work(_record(lane, commands[-1]))
            results.append(encode(result))
            made = list(self.route(_record(topics.step_results, results[-1])))
            events.append(encode(made[0][1]))
        self._events, self._commands, self._results = map(_filling, (events, commands, results))

    def route_bytes(self, record: ConsumerRecord) -> Iterable[tuple[str, bytes]]:
        # What creates a task is the generator's, for both chains.
        hop = 0 if record.topic == self.topics.task_created else record.value[0] + 1
        yield self.topics.task_events, self._events[hop]
        if hop < len(STEPS):
            yield self.topics.step(STEPS[hop], Lane.NORMAL), self._commands[hop]

    def work_bytes(self, record: ConsumerRecord) -> Iterable[tuple[str, bytes]]:
        yield self.topics.step_results, self._results[record.value[0]]


def row_of(record: ConsumerRecord) -> tuple[str, str, str | None]:
    """What an event makes of its task's row: id, status, output."""
    if record.value[0] < _LAST_EVENT:
        return record.key.decode(), "running", None
    return record.key.decode(), "completed", output_of(STEPS[-1])


def _filling(records: Iterable[bytes]) -> list[bytes]:
    """For each hop its number, and as many bytes as the real record has."""
    return [bytes([hop]) + b"x" * (len(record) - 1) for hop, record in enumerate(records)]


def _record(topic: str, value: bytes) -> Any:
    return SimpleNamespace(topic=topic, partition=0, offset=0, key=_KEY.encode(), value=value)


async def main(role: str, bootstrap: str, prefix: str, dsn: str) -> None:
    topics = Topics(TopicsSettings(prefix=prefix))
    chain = BytesChain(topics, bootstrap)
    if role == "router":
        names = [topics.task_created, topics.step_results]
        await chain.run_bytes("raw-router", names, chain.route_bytes)
    elif role == "worker":
        lanes = [topics.step(step, Lane.NORMAL) for step in STEPS]
        await chain.run_bytes("raw-worker", lanes, chain.work_bytes)
    else:
        await chain.run_sink(dsn, row_of)


if __name__ == "__main__":
    given = arguments()
    asyncio.run(main(given.role, given.bootstrap, given.prefix, given.dsn))
