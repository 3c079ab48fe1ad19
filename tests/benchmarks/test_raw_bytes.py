"""The chain without a codec moves what the chain with one does."""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from benchmarks.chains.raw import STEPS, Chain, row_of
from benchmarks.chains.raw_bytes import BytesChain
from benchmarks.chains.raw_bytes import row_of as row_of_bytes
from benchmarks.harness.arrivals import a_task
from schemas.codec import encode
from schemas.records import Lane
from schemas.topics import Topics, TopicsSettings

TOPICS = Topics(TopicsSettings())
KEY = "task_00000000-0000-4000-8000-000000000001"
LANES = [TOPICS.step(step, Lane.NORMAL) for step in STEPS]


def run_one(route: Callable[[Any], Any], work: Callable[[Any], Any]) -> list[Any]:
    """All records that one task makes, from the one that creates it."""
    waiting = deque([(TOPICS.task_created, encode(a_task(KEY)))])
    found = []
    while waiting:
        topic, value = waiting.popleft()
        record = SimpleNamespace(topic=topic, partition=0, offset=0, key=KEY.encode(), value=value)
        found.append(record)
        if topic in LANES:
            waiting += work(record)
        elif topic != TOPICS.task_events:
            waiting += route(record)
    return found


def both_chains() -> tuple[list[Any], list[Any]]:
    chain, plain = Chain(TOPICS, "127.0.0.1:1"), BytesChain(TOPICS, "127.0.0.1:1")
    coded = run_one(
        lambda r: [(topic, encode(record)) for topic, record in chain.route(r)],
        lambda r: [(topic, encode(record)) for topic, record in chain.work(r)],
    )
    return coded, run_one(plain.route_bytes, plain.work_bytes)


def test_a_task_makes_eight_records_in_the_same_topics_and_of_the_same_sizes() -> None:
    coded, plain = both_chains()

    assert len(coded) == 8
    assert [r.topic for r in plain] == [r.topic for r in coded]
    assert [len(r.value) for r in plain] == [len(r.value) for r in coded]


def test_the_same_rows_are_written() -> None:
    coded, plain = both_chains()

    assert [row_of_bytes(r) for r in plain if r.topic == TOPICS.task_events] == [
        row_of(r) for r in coded if r.topic == TOPICS.task_events
    ]
