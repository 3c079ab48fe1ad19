"""What the parts below cost without any of our system: chain, codec, sink, gRPC, a hop.

The chains are ``chains/raw.py`` and ``chains/raw_bytes.py``: as many records of the same sizes,
with and without the codec, measured in turns on running processes that get all tasks at once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.api import CONCURRENCY, a_topic, rate
from benchmarks.api_floor import ECHO_TOPIC, METHOD, TOPICS
from benchmarks.chains.raw import CREATE_TABLE, STEPS, UPSERT, output_of
from benchmarks.harness.at_once import rate_at_once
from benchmarks.harness.deployment import a_database, deployed, execute, running_servers
from benchmarks.harness.figures import PACKAGES, record
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.names import RAW, RAW_BYTES
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.local.embedded.process import Child
from streams.kafka.admin import Admin
from streams.settings import KafkaSettings
from tests.api.calling import free_ports

_BATCH_ROWS = 500
_MESSAGE = b"x" * 300
_START_S = 60.0
_WARM_CALLS = 20
Row = tuple[str, str, float, float, float]
"""What, unit, median, smallest, largest."""


async def chains(
    kafka: EmbeddedKafka, postgres: EmbeddedPostgres, given: argparse.Namespace, folder: Path
) -> list[Row]:
    rates: dict[str, list[float]] = {RAW: [], RAW_BYTES: []}
    for _ in range(given.rounds):
        for engine, found in rates.items():
            async with deployed(engine, kafka, postgres, folder) as at:
                found.append(await rate_at_once(at, given.tasks))
    return [
        _row(f"{name}, eight records a task", "tasks/s", found) for name, found in rates.items()
    ]


async def sink(postgres: EmbeddedPostgres, rounds: int, rows: int) -> Row:
    """``UNNEST`` upserts by one connection, each batch a commit: all rows new, then all known."""
    dsn = await a_database(postgres.dsn)
    await execute(dsn, CREATE_TABLE)
    connection = await asyncpg.connect(dsn)
    output, rates = output_of(STEPS[-1]), []
    for _ in range(rounds):
        ids = [f"task_{uuid.uuid4()}" for _ in range(rows)]
        batches = [ids[first : first + _BATCH_ROWS] for first in range(0, rows, _BATCH_ROWS)]
        began = time.perf_counter()
        for status in ("running", "completed"):
            for batch in batches:
                size = len(batch)
                await connection.execute(UPSERT, batch, [status] * size, [output] * size)
        rates.append(2 * rows / (time.perf_counter() - began))
    await connection.close()
    return _row(f"`UNNEST` upserts, {_BATCH_ROWS} rows a batch, one connection", "rows/s", rates)


async def echoes(bootstrap: str, rounds: int, calls: int, folder: Path) -> list[Row]:
    """gRPC calls that come back at once, and those that await one produce."""
    mirror_port, echo_port = free_ports(2)
    found = []
    for name, port, words in (
        ("sent back at once", mirror_port, ["mirror", str(mirror_port)]),
        ("sent back after one produce", echo_port, ["echo", bootstrap, str(echo_port)]),
    ):
        async with (
            _floor(folder, *words),
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            await asyncio.wait_for(channel.channel_ready(), _START_S)
            call: Any = channel.unary_unary(METHOD)
            await rate(lambda call=call: call(_MESSAGE), calls)  # type: ignore[misc]
            rates = [
                await rate(lambda call=call: call(_MESSAGE), calls)  # type: ignore[misc]
                for _ in range(rounds)
            ]
            found.append(_row(f"gRPC, {CONCURRENCY} callers, {name}", "calls/s", rates))
    return found


async def round_trips(bootstrap: str, calls: int, folder: Path) -> list[Row]:
    """One record at a time: there through one topic, and through three relays."""
    async with (
        _floor(folder, "hops", bootstrap),
        AIOKafkaProducer(
            bootstrap_servers=bootstrap, acks="all", enable_idempotence=True
        ) as producer,
    ):
        return [
            await _trip(producer, bootstrap, "produce and consume", ECHO_TOPIC, ECHO_TOPIC, calls),
            await _trip(producer, bootstrap, "four hops", TOPICS[0], TOPICS[-1], calls),
        ]


async def _trip(
    producer: AIOKafkaProducer, bootstrap: str, what: str, first: str, last: str, calls: int
) -> Row:
    took_ms = []
    async with AIOKafkaConsumer(last, bootstrap_servers=bootstrap) as consumer:
        await consumer.seek_to_end()
        # Without it the place is looked up when the first record is there already.
        await consumer.position(next(iter(consumer.assignment())))
        for number in range(_WARM_CALLS + calls):
            async with asyncio.timeout(_START_S):
                began = time.perf_counter()
                await producer.send_and_wait(first, _MESSAGE)
                await consumer.getone()
            if number >= _WARM_CALLS:
                took_ms.append((time.perf_counter() - began) * 1000)
    return _row(f"{what}, one record at a time", "ms", took_ms)


@asynccontextmanager
async def _floor(folder: Path, *words: str) -> AsyncIterator[None]:
    command = [sys.executable, "-m", "benchmarks.api_floor", *words]
    child = Child(words[0], command, env=os.environ, log_path=folder / f"{words[0]}.log")
    child.start()
    try:
        yield
    finally:
        await child.stop(5)


def _row(what: str, unit: str, found: list[float]) -> Row:
    row = what, unit, statistics.median(found), min(found), max(found)
    print(f"{what:58} {row[2]:9,.1f} {unit} (min {row[3]:,.1f}, max {row[4]:,.1f})", flush=True)
    return row


async def main(given: argparse.Namespace, folder: Path) -> None:
    print_machine(*PACKAGES)
    async with running_servers(folder, commit_timestamps=True) as (kafka, postgres):
        async with Admin(KafkaSettings(bootstrap=kafka.bootstrap)) as admin:
            await admin.apply([a_topic(name) for name in (ECHO_TOPIC, *TOPICS)])
        rows = await chains(kafka, postgres, given, folder)
        rows.append(await sink(postgres, given.rounds, given.tasks))
        rows += await echoes(kafka.bootstrap, given.rounds, given.calls, folder)
        rows += await round_trips(kafka.bootstrap, given.calls // 10, folder)
    if given.record:
        record(
            "raw",
            {
                "head": ["what", "unit", "median", "min", "max"],
                "rows": [[*row[:2], *(round(value, 2) for value in row[2:])] for row in rows],
            },
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=20_000, help="through each chain")
    parser.add_argument("--calls", type=int, default=5_000, help="of each gRPC server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="keep the figures")
    with bench_folder() as folder:
        asyncio.run(main(parser.parse_args(), folder))
