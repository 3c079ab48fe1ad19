"""``python -m benchmarks.replay``: how many dead letters a replay sends in a second.

A real Kafka on this machine, no router: the tool alone, with its intents and outcomes.
"""

import argparse
import asyncio
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from benchmarks.harness.figures import PACKAGES, record
from benchmarks.harness.machine import print_machine
from orchestrator.local.embedded.kafka import EmbeddedKafka
from schemas.codec import encode
from schemas.dead_letter import Failure, FailureClass, Origin, Stage
from schemas.records import Millis, TaskCreated, TaskId
from schemas.topics import DLQ_PREFIX, Topics, TopicsSettings
from streams.kafka.admin import Admin
from streams.kafka.dead_letters import DeadLetters
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Publisher
from streams.letters.action_log import ActionLog, new_id
from streams.letters.canary import Canary
from streams.letters.replay import Replay, ReplayLimits, ReplayParts
from streams.letters.scan import scan
from streams.settings import KafkaSettings
from tasks.letters.filter import LetterFilter
from tasks.letters.known import KnownLetters
from tasks.letters.plan import ReplayOrder

LETTERS = 20_000
TOPICS = Topics(TopicsSettings(partitions=4, replication_factor=1))
FAILURE = Failure(
    stage=Stage.VALIDATE,
    failure_class=FailureClass.REJECTED,
    code="TASK_TYPE_UNKNOWN",
    message="there is no pipeline 'poetry'",
)


class NoRows:
    async def write(
        self, partition: int, task_ids: Sequence[TaskId]
    ) -> Mapping[TaskId, str | None] | None:
        return None


def an_origin(number: int) -> Origin:
    task_id = TaskId(f"task_{number}")
    task = TaskCreated(task_id=task_id, tenant_id="acme", type="poetry", created_at=Millis(0))
    return Origin(
        topic=TOPICS.task_created,
        partition=number % 4,
        offset=number,
        timestamp_ms=0,
        key=task_id.encode(),
        value=encode(task),
        headers=(),
    )


async def measure(bootstrap: str) -> tuple[float, float]:
    """Letters read in a second, and records replayed in a second."""
    kafka = KafkaSettings(bootstrap=bootstrap)
    wanted = (TOPICS.task_created, TOPICS.dlq_actions)
    table = [t for t in TOPICS.table([]) if t.name.removeprefix(DLQ_PREFIX) in wanted]
    async with Admin(kafka) as admin:
        await admin.apply(table)
    publisher = Publisher(kafka, client_id="benchmark")
    await publisher.open()
    letters = [(an_origin(number), FAILURE) for number in range(LETTERS)]
    await DeadLetters(publisher, group="g").publish(letters)
    async with LogReader(kafka, client_id="benchmark") as reader:
        began = time.perf_counter()
        names = [topic.name for topic in table if topic.record is None]
        found = await scan(reader, names, TOPICS)
        scanned = time.perf_counter()
        log = ActionLog(reader, TOPICS, publisher)
        parts = ReplayParts(
            topics=TOPICS,
            router_group="g",
            reader=reader,
            log=log,
            publisher=publisher,
            rows=NoRows(),
            canary=Canary(reader, kafka, TOPICS, []),
            progress=lambda _: None,
        )
        order = ReplayOrder(replay_id=new_id(), actor="benchmark", reason="to measure")
        replay = Replay(parts, order, ReplayLimits())
        await replay.run(KnownLetters(found, log.ledger), LetterFilter())
        ended = time.perf_counter()
    await publisher.close()
    sent = replay.counts["sent"]
    if sent != LETTERS:
        raise SystemExit(f"void: {sent} of {LETTERS} letters were sent")
    return LETTERS / (scanned - began), sent / (ended - scanned)


async def main(given: argparse.Namespace) -> None:
    print_machine(*PACKAGES)
    # A line for each of the letters that are made here would be all that one sees.
    level = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(wrapper_class=level)
    with tempfile.TemporaryDirectory() as folder:
        kafka = EmbeddedKafka(Path(folder))
        try:
            read, replayed = await measure(await kafka.start())
        finally:
            await kafka.kill()
    print(f"read      {read:8.0f} letters/s")
    print(f"replayed  {replayed:8.0f} records/s ({LETTERS} records, no --rate)")
    if given.record:
        rows = [["read from the topic", round(read)], ["replayed", round(replayed)]]
        record("replay", {"head": ["", "records/s"], "rows": rows})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--record", action="store_true", help="keep the figures")
    asyncio.run(main(parser.parse_args()))
