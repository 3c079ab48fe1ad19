"""The sink holds events that end no task, on a real Kafka and a real Postgres."""

import asyncio
from dataclasses import replace

from streams import metrics
from streams.kafka.admin import Admin
from tests.agents.projection.projecting import Sink, a_marker, running
from tests.tasks.builders import ANSWER, DOCUMENTS, a_life, a_task_created

WAIT_S = 20.0
LONG_S = 600.0


def holding(sink: Sink, hold_s: float) -> Sink:
    return replace(sink, parts=replace(sink.parts, hold_s=hold_s))


def batches() -> float:
    [metric] = metrics.SINK_BATCH_EVENTS.collect()
    return next(one.value for one in metric.samples if one.name.endswith("_count"))


async def until(sink: Sink, *statuses: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while await sink.statuses("t1") != list(statuses):  # noqa: ASYNC110  # another's doing
            await asyncio.sleep(0.02)


async def until_read(sink: Sink, offset: int) -> None:
    """Wait until the running sink has read up to an offset; it commits nothing that it holds."""
    topic = sink.parts.topics.task_events
    async with asyncio.timeout(WAIT_S), Admin(sink.parts.kafka) as admin:
        while True:
            committed = await admin.committed(sink.parts.group, [(topic, 0)])
            if committed.get((topic, 0), 0) >= offset:
                return
            await asyncio.sleep(0.02)


async def test_the_events_of_a_short_task_are_written_in_one_transaction(sink: Sink) -> None:
    sink, life = holding(sink, LONG_S), a_life(a_task_created(task_id="t1"))
    async with running(sink):
        await sink.append([a_marker()])
        await until_read(sink, 1)
        before = batches()
        await sink.append(life.events)
        life.succeeded(DOCUMENTS)
        await sink.append(life.events[1:])
        shown = len(life.events)
        life.succeeded(ANSWER)
        await sink.append(life.events[shown:])
        await until(sink, "completed")

        assert batches() - before == 1


async def test_a_row_of_a_running_task_is_written_when_its_hold_is_over(sink: Sink) -> None:
    sink = holding(sink, 0.1)
    async with running(sink):
        await sink.append([a_marker(), *a_life(a_task_created(task_id="t1")).events])

        await until(sink, "pending")


async def test_what_a_stopped_sink_held_is_written_by_the_next_one(sink: Sink) -> None:
    long = holding(sink, LONG_S)
    async with running(long) as app:
        await sink.append([a_marker()])
        await until_read(long, 1)
        await sink.append(a_life(a_task_created(task_id="t1")).events)
        async with asyncio.timeout(WAIT_S):
            while not app.pending:  # noqa: ASYNC110  # another's doing
                await asyncio.sleep(0.02)
    assert await sink.statuses("t1") == []

    async with running(holding(sink, 0.1)):
        await until(sink, "pending")
