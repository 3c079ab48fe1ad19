"""Dead letters are counted where they are written."""

import time

from schemas.dead_letter import Failure, FailureClass, Origin, Stage
from schemas.topics import dlq
from streams import metrics
from streams.kafka.admin import Admin
from streams.kafka.dead_letters import DeadLetters
from streams.kafka.publisher import Publisher
from streams.settings import KafkaSettings
from tests.streams.building import a_topic

FAILURE = Failure(
    stage=Stage.DECODE, failure_class=FailureClass.POISON, code="RECORD_UNDECODABLE", message="no"
)


def letters_of(topic: str, count: int) -> list[tuple[Origin, Failure]]:
    now_ms = int(time.time() * 1000)
    return [
        (
            Origin(
                topic=topic,
                partition=0,
                offset=n,
                timestamp_ms=now_ms,
                key=b"k",
                value=b"v",
                headers=(),
            ),
            FAILURE,
        )
        for n in range(count)
    ]


def counted(topic: str) -> float:
    return float(metrics.DEAD_LETTERS.labels(topic, FAILURE.code)._value.get())


async def test_each_dead_letter_that_is_written_is_counted_once(
    kafka: KafkaSettings, publisher: Publisher, topics: list[str]
) -> None:
    origin = topics[0]
    async with Admin(kafka) as admin:
        await admin.apply([a_topic(dlq(origin))])
    await DeadLetters(publisher, group="g").publish(letters_of(origin, 3))

    assert counted(origin) == 3
