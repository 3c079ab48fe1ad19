"""Cancels raced against completions: whoever wins, log, Postgres and services say the same."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer

from schemas.codec import encode
from schemas.records import CommandKind, TaskCreated
from tests.checker.waiting import ENDS
from tests.e2e.driving import Running, a_rag_task
from tests.e2e.ordering import an_order, answered

pytestmark = pytest.mark.asyncio(loop_scope="session")

WAVES, WAVE = 10, 50


@pytest.mark.timeout(300)
async def test_of_500_cancels_raced_against_completion_each_either_wins_or_is_refused(
    running: Running,
) -> None:
    seed = int(os.environ.get("ORCH_TEST_SEED") or random.randrange(10**6))
    print(f"seed {seed}")
    draw, tasks = random.Random(seed), list[TaskCreated]()
    # The first task finds every process started, or waits for it.
    await warmed_up(running)
    within_s = 1.0
    for _ in range(WAVES):
        wave = [a_rag_task("raced") for _ in range(WAVE)]
        completed = await race(running, wave, draw, within_s)
        # So that about half of the cancels win, however fast this machine is now.
        within_s = min(5.0, within_s * 1.5) if completed < WAVE / 2 else within_s / 1.5
        tasks += wave

    ids = [task.task_id for task in tasks]
    histories = await answered(running, tasks)
    rows = await running.ended(ids)
    await running.until(lambda: not calls_that_run(running, ids))
    statuses = Counter(row["status"] for row in rows.values())
    assert statuses.keys() == {"cancelled", "completed"}
    assert statuses.total() == WAVES * WAVE
    for task_id, events in histories.items():
        ends = [event["kind"] for event in events if event["kind"] in ENDS]
        refusals = [event["reason"] for event in events if event["kind"] == "command_refused"]
        assert ends == [rows[task_id]["status"]]
        assert refusals == (["TASK_NOT_CANCELLABLE"] if ends == ["completed"] else [])
        assert (rows[task_id]["output"] is None) == (ends == ["cancelled"])
    aborted = {call["task_id"] for call in running.ended_calls() if call["aborted"]} & set(ids)
    assert aborted, "no cancel reached a call"
    assert {rows[task_id]["status"] for task_id in aborted} == {"cancelled"}
    assert set(running.calls_by_key(ids).values()) == {1}
    await running.check(ids)


async def warmed_up(running: Running) -> None:
    task = a_rag_task()
    await running.create([task])
    await running.ended([task.task_id])


async def race(
    running: Running, tasks: Sequence[TaskCreated], draw: random.Random, within_s: float
) -> int:
    """Publish tasks, and the cancel of each at a time of its own; return how many completed."""
    cancels = sorted((draw.uniform(0, within_s), number) for number in range(len(tasks)))
    async with AIOKafkaProducer(bootstrap_servers=running.bootstrap, acks="all") as producer:
        began_s = time.monotonic()
        await running.create(tasks)
        sent = []
        for at_s, number in cancels:
            await asyncio.sleep(max(0.0, began_s + at_s - time.monotonic()))
            record = an_order(tasks[number], CommandKind.CANCEL)
            key = record.task_id.encode()
            sent.append(await producer.send(running.topics.task_commands, encode(record), key=key))
        await asyncio.gather(*sent)
    rows = await running.ended([task.task_id for task in tasks])
    return sum(row["status"] == "completed" for row in rows.values())


def calls_that_run(running: Running, ids: Sequence[str]) -> set[str]:
    """The calls for these tasks that have not ended; each is called once."""
    ended = {call["idempotency_key"] for call in running.ended_calls()}
    return running.calls_by_key(ids).keys() - ended
