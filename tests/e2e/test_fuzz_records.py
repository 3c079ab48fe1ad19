"""Malformed and hostile records over all consumed topics, with good tasks in between."""

import asyncio
import random
import re
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.settings import load_settings
from schemas.codec import encode
from schemas.dead_letter import CUT_HEADERS, Origin
from schemas.headers import header_text
from schemas.records import TaskCreated
from schemas.topics import dlq
from streams.kafka.log_reader import LogReader
from tests.e2e.driving import ANY_PORTS, Running, a_database, a_rag_task
from tests.e2e.hostile import Hostile, hostile_records
from tests.e2e.hostile_batches import Position, Sent, open_hostile_producers

PUBLISHED = set(re.findall(r"^\| `([A-Z_]+)`", Path("docs/errors.md").read_text("utf-8"), re.M))
SEED = 20_251_125
GOOD = 40
BROKEN = 2
"""How often each broken batch is sent to each topic."""
CHUNK = 1_000
SETTLE_S = 1_200.0


@pytest.fixture
async def hostile_world(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path
) -> AsyncIterator[Running]:
    """A whole system of its own: what is thrown at it disturbs no other test."""
    environment = {
        **ANY_PORTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_POSTGRES_DSN": await a_database(postgres_dsn),
        "ORCH_TOPICS_PREFIX": f"fuzz-{uuid.uuid4()}.",
        "ORCH_TOPICS_PARTITIONS": "2",
        # Commands for tasks that nobody created wait so long for them.
        "ORCH_ROUTER_HOLD_S": "2",
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    async with open_system(settings, environment=environment, logs=tmp_path) as system:
        yield Running(system=system, call_log=tmp_path / "calls.jsonl", logs=tmp_path)


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(10_000, marks=pytest.mark.timeout(600)),
        pytest.param(100_000, marks=[pytest.mark.fuzz, pytest.mark.timeout(3_600)]),
    ],
)
async def test_hostile_records_stop_nothing_and_each_bad_one_is_a_dead_letter(
    hostile_world: Running, count: int
) -> None:
    running = hostile_world
    records = list(hostile_records(running.topics, count, SEED))
    # Time enough behind the backlog: what is asked here is that nothing is lost.
    good = [a_rag_task(timeout_ms=int(SETTLE_S * 1000)) for _ in range(GOOD)]
    sent = await _send_all(running, records, good)

    good += sent.good
    rows = await running.ended([task.task_id for task in good], timeout_s=SETTLE_S)
    letters = await _dead_letters(running, {at for at, one in sent.records.items() if one.bad})
    assert {row["status"] for row in rows.values()} == {"completed"}
    for position in sent.records.keys() & letters.keys():
        _check(sent.records[position], letters[position])
    assert sum(one.bad for one in sent.records.values()) > count // 2
    _check_kinds(sent)
    # Not the checker's whole judgement: a forged step command is a violation by itself.
    histories: dict[str, list[int]] = defaultdict(list)
    for event in await running.events():
        histories[event["task_id"]].append(event["sequence"])
    for task in good:
        history = histories[task.task_id]
        assert history == list(range(1, len(history) + 1))
        assert history[-1] == rows[task.task_id]["sequence"]
    assert not sent.aborted.keys() & letters.keys()
    assert not {str(task.task_id) for task in sent.never} & histories.keys()
    restarts = running.system.supervisor.restarts
    assert restarts == dict.fromkeys(restarts, 0)


async def _send_all(
    running: Running, records: Sequence[Hostile], good: Sequence[TaskCreated]
) -> Sent:
    """Send everything, chunk by chunk: in each a transaction is aborted, and one stays open."""
    count, rng = len(records), random.Random(SEED)
    timeout_ms = int(SETTLE_S * 1000)
    async with open_hostile_producers(running, rng, timeout_ms=timeout_ms) as producers:
        for begin in range(0, count, CHUNK):
            chunk = records[begin : begin + CHUNK]
            await producers.begin(chunk)
            for topic, group in _by_topic(chunk).items():
                await producers.send(topic, group)
            await producers.abort(chunk)
            if begin % (count // BROKEN) == 0:
                await producers.send_broken()
            share = good[begin * GOOD // count : (begin + CHUNK) * GOOD // count]
            await running.publish(
                running.topics.task_created, [(t.task_id.encode(), encode(t)) for t in share]
            )
            await producers.end()
    return producers.sent


def _by_topic(records: Sequence[Hostile]) -> dict[str, list[Hostile]]:
    by_topic: dict[str, list[Hostile]] = defaultdict(list)
    for record in records:
        by_topic[record.topic].append(record)
    return by_topic


def _check_kinds(sent: Sent) -> None:
    """Demand that each kind of batch was there, and that the broker refused what nobody reads."""
    refused = {kind for kind in sent.kinds if sent.refused[kind] == sent.kinds[kind]}
    assert refused == {"codec 5", "codec 7", "no zstd"}, sent.refused
    assert sum(sent.refused.values()) == sum(sent.kinds[kind] for kind in refused)
    assert min(sent.kinds.values()) >= 5, sent.kinds
    assert sent.never


async def _dead_letters(running: Running, wanted: set[Position]) -> dict[Position, Origin]:
    """Read all dead-letter topics until every wanted origin was seen."""
    letters: dict[Position, Origin] = {}
    topics = {dlq(topic) for topic, _, _ in wanted}
    starts: dict[tuple[str, int], int] = {}
    try:
        async with (
            asyncio.timeout(SETTLE_S),
            LogReader(running.system.settings.kafka, client_id="fuzz") as reader,
        ):
            while wanted - letters.keys():
                for topic in topics:
                    for partition in await reader.partitions(topic):
                        start = starts.get((topic, partition), 0)
                        _, end = await reader.bounds(topic, partition)
                        async for batch in reader.read(topic, partition, start, end):
                            letters |= {_origin(letter): letter for letter in batch}
                        starts[topic, partition] = end
                await asyncio.sleep(0.2)
    except TimeoutError:
        missing = sorted(wanted - letters.keys())
        raise AssertionError(f"{len(missing)} have no dead letter: {missing[:10]}") from None
    return letters


def _origin(letter: Origin) -> Position:
    topic, partition, offset = (
        header_text(letter.headers, f"__dlq.errors.{name}")
        for name in ("topic", "partition", "offset")
    )
    return (topic or "", int(partition or -1), int(offset or -1))


def _check(sent: Hostile, letter: Origin) -> None:
    code = header_text(letter.headers, "__dlq.errors.code")
    if sent.as_sent:
        assert (letter.key, letter.value) == (sent.key, sent.value)
    elif sent.value is not None:
        assert header_text(letter.headers, CUT_HEADERS[1]) == str(len(sent.value))
    assert code in PUBLISHED, code
    assert code != "INTERNAL", header_text(letter.headers, "__dlq.errors.message")
    assert sent.code in (None, code)
