"""The floor: the same records through the same hops, by aiokafka alone.

Three processes (``router``, ``worker``, ``sink``) read batches, decode with our codec, build
the next record, encode it, and send one batch to each partition. They keep no state, prove
nothing, and commit once a second: what is left is what Kafka, Avro and ``UNNEST`` cost.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from schemas.codec import decode, encode
from schemas.records import (
    CommandId,
    DispatchedStep,
    EventKind,
    Json,
    Lane,
    Millis,
    Record,
    ResultKind,
    StepCommand,
    StepName,
    StepOutcome,
    StepResult,
    TaskCreated,
    TaskEvent,
    TaskId,
    TaskSpec,
    TaskStatus,
)
from schemas.topics import Topics, TopicsSettings
from streams.kafka.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings

STEPS = (StepName("noop_first"), StepName("noop_second"))
TABLE = "raw_tasks"
CREATE_TABLE = f"CREATE TABLE {TABLE} (id text PRIMARY KEY, status text NOT NULL, output jsonb)"
UPSERT = f"""
INSERT INTO {TABLE} (id, status, output)
SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[])
ON CONFLICT (id) DO UPDATE SET status = excluded.status, output = excluded.output
"""
Out = Iterable[tuple[str, Record]]


class Chain:
    """One process of the chain."""

    def __init__(self, topics: Topics, bootstrap: str) -> None:
        self.topics = topics
        self._bootstrap = bootstrap
        self.publisher = Publisher(KafkaSettings(bootstrap=bootstrap), client_id="raw")

    async def run(
        self, group: str, names: Sequence[str], handle: Callable[[ConsumerRecord], Out]
    ) -> None:
        await self.run_bytes(
            group, names, lambda r: ((topic, encode(record)) for topic, record in handle(r))
        )

    async def run_bytes(
        self,
        group: str,
        names: Sequence[str],
        handle: Callable[[ConsumerRecord], Iterable[tuple[str, bytes]]],
    ) -> None:
        async def publish(records: Sequence[ConsumerRecord]) -> None:
            await self.publisher.publish(
                [
                    Outgoing(topic=topic, partition=r.partition, key=r.key, value=value)
                    for r in records
                    for topic, value in handle(r)
                ]
            )

        await self.publisher.open()
        await self.consume(group, names, publish)

    async def run_sink(
        self, dsn: str, row_of: Callable[[ConsumerRecord], tuple[str, str, str | None]]
    ) -> None:
        connection = await asyncpg.connect(dsn)

        async def write(records: Sequence[ConsumerRecord]) -> None:
            rows: dict[str, tuple[str, str | None]] = {}
            for record in records:
                task_id, status, output = row_of(record)
                rows[task_id] = (status, output)
            values = list(rows.values())
            columns = ([status for status, _ in values], [output for _, output in values])
            await connection.execute(UPSERT, list(rows), *columns)

        await self.consume("raw-sink", [self.topics.task_events], write)

    async def consume(
        self,
        group: str,
        names: Sequence[str],
        handle: Callable[[Sequence[ConsumerRecord]], Awaitable[None]],
    ) -> None:
        consumer = AIOKafkaConsumer(
            *names,
            bootstrap_servers=self._bootstrap,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=2_000,
        )
        await consumer.start()
        committed_at = time.monotonic()
        while True:
            fetched = await consumer.getmany(timeout_ms=200)
            records = [record for batch in fetched.values() for record in batch]
            if records:
                await handle(records)
            if time.monotonic() - committed_at > 1:
                await consumer.commit()
                committed_at = time.monotonic()

    def route(self, record: ConsumerRecord) -> Out:
        topics = self.topics
        if record.topic == topics.task_created:
            created = decode(record.value, TaskCreated)
            command = _command(created.task_id, 0, created.input)
            yield topics.task_events, _event(record, command, spec=_spec(created))
            yield topics.step(command.step, Lane.NORMAL), command
            return
        result = decode(record.value, StepResult)
        if result.step == STEPS[0]:
            command = _command(result.task_id, 1, result.output or Json("{}"))
            yield topics.task_events, _event(record, command, result=result)
            yield topics.step(command.step, Lane.NORMAL), command
        else:
            yield topics.task_events, _event(record, None, result=result)

    def work(self, record: ConsumerRecord) -> Out:
        command = decode(record.value, StepCommand)
        at = now_ms()
        yield (
            self.topics.step_results,
            StepResult(
                command_id=command.command_id,
                task_id=command.task_id,
                tenant_id=command.tenant_id,
                step=command.step,
                kind=ResultKind.SUCCEEDED,
                output=output_of(command.step),
                command_topic=record.topic,
                command_partition=record.partition,
                command_offset=record.offset,
                worker="raw",
                started_at=at,
                completed_at=at,
            ),
        )


def row_of(record: ConsumerRecord) -> tuple[str, str, str | None]:
    """What an event makes of its task's row: id, status, output."""
    event = decode(record.value, TaskEvent)
    return event.task_id, event.status, event.output


def output_of(step: StepName) -> Json:
    """128 bytes after step 1, 256 after step 2."""
    return Json('{"result":"' + "r" * (115 if step == STEPS[0] else 243) + '"}')


def _event(
    record: ConsumerRecord,
    command: StepCommand | None,
    *,
    spec: TaskSpec | None = None,
    result: StepResult | None = None,
) -> TaskEvent:
    task_id = TaskId(record.key.decode())
    kind = EventKind.STEP_SUCCEEDED if command else EventKind.COMPLETED
    return TaskEvent(
        event_id=f"{task_id}/1",
        task_id=task_id,
        tenant_id="bench",
        kind=EventKind.CREATED if spec else kind,
        sequence=1,
        status=TaskStatus.RUNNING if command else TaskStatus.COMPLETED,
        phase="queued" if command else "completed",
        occurred_at=now_ms(),
        owner="raw",
        owner_epoch=1,
        cause_topic=record.topic,
        cause_partition=record.partition,
        cause_offset=record.offset,
        task=spec,
        step=None if result is None else _outcome(result),
        dispatched=[] if command is None else [_dispatched(command)],
        output=None if command is not None or result is None else result.output,
    )


def _outcome(result: StepResult) -> StepOutcome:
    return StepOutcome(
        command_id=result.command_id,
        name=result.step,
        status="succeeded",
        output=result.output,
        started_at=result.started_at,
        completed_at=result.completed_at,
        worker=result.worker,
        command_topic=result.command_topic,
        command_partition=result.command_partition,
        command_offset=result.command_offset,
    )


def _dispatched(command: StepCommand) -> DispatchedStep:
    return DispatchedStep(
        command_id=command.command_id, step=command.step, lane=Lane.NORMAL, input=command.input
    )


def _command(task_id: TaskId, index: int, given: Json) -> StepCommand:
    at = now_ms()
    return StepCommand(
        command_id=CommandId(f"{task_id}/1/{STEPS[index]}/1"),
        task_id=task_id,
        tenant_id="bench",
        step=STEPS[index],
        step_index=index,
        pipeline="bench",
        service="noop",
        method="Noop",
        input=given,
        timeout_ms=1_000,
        deadline_at=Millis(at + 300_000),
        dispatched_at=at,
    )


def _spec(created: TaskCreated) -> TaskSpec:
    return TaskSpec(
        task_id=created.task_id,
        tenant_id=created.tenant_id,
        type=created.type,
        input=created.input,
        deadline_at=Millis(created.created_at + 300_000),
        pipeline="bench",
        created_at=created.created_at,
    )


def now_ms() -> Millis:
    """Unix time in milliseconds."""
    return Millis(time.time_ns() // 1_000_000)


async def main(role: str, bootstrap: str, prefix: str, dsn: str) -> None:
    topics = Topics(TopicsSettings(prefix=prefix))
    chain = Chain(topics, bootstrap)
    if role == "router":
        await chain.run("raw-router", [topics.task_created, topics.step_results], chain.route)
    elif role == "worker":
        lanes = [topics.step(step, Lane.NORMAL) for step in STEPS]
        await chain.run("raw-worker", lanes, chain.work)
    else:
        await chain.run_sink(dsn, row_of)


def arguments() -> argparse.Namespace:
    """Which process of the chain this is, and where the servers are."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("router", "worker", "sink"))
    for name in ("bootstrap", "prefix", "dsn"):
        parser.add_argument(name)
    parser.add_argument("--batched", action="store_true", help="of the Faust agents only")
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    asyncio.run(main(given.role, given.bootstrap, given.prefix, given.dsn))
