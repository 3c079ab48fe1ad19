"""Which topics hold dead letters of a system."""

import uuid

import pytest

from schemas.topics import Topics, TopicsSettings
from streams.errors import KafkaUnavailableError
from streams.kafka.admin import Admin
from streams.letters.topics import dead_letter_topics, is_dead_letter_topic
from streams.settings import KafkaSettings
from tests.streams.building import a_topic


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dlq.o.task-created.v1", True),
        ("dlq.o.task-events.v1", True),
        ("dlq.o.steps.retrieve.high.v1", True),
        ("dlq.o.steps.not_installed.low.v1", True),
        ("o.task-created.v1", False),
        ("dlq.o.other.v1", False),
        ("dlq.o.b.task-created.v1", False),
        ("dlq.o.b.steps.retrieve.high.v1", False),
        ("dlq.other.task-created.v1", False),
        ("dlq.o.steps.retrieve.urgent.v1", False),
        ("dlq.dlq.o.task-created.v1", False),
    ],
)
def test_a_dead_letter_topic_is_known_by_its_name(name: str, expected: bool) -> None:
    assert is_dead_letter_topic(name, "o.") is expected


def test_every_dead_letter_topic_of_the_table_is_one() -> None:
    topics = Topics(TopicsSettings(prefix="p."))
    for row in topics.table([]):
        assert is_dead_letter_topic(row.name, "p.") is row.name.startswith("dlq."), row.name


async def test_the_broker_is_asked_what_there_is(kafka_bootstrap: str) -> None:
    prefix = f"t{uuid.uuid4().hex[:8]}."
    wanted = f"dlq.{prefix}steps.elsewhere.normal.v1"
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    async with Admin(kafka) as admin:
        await admin.apply([a_topic(wanted), a_topic(f"{prefix}task-created.v1")])

    assert await dead_letter_topics(kafka, prefix) == [wanted]


async def test_without_a_broker_it_is_said_in_time() -> None:
    kafka = KafkaSettings(bootstrap="127.0.0.1:1", session_timeout_s=6.0, request_timeout_s=7.0)
    with pytest.raises(KafkaUnavailableError):
        await dead_letter_topics(kafka, "p.")
