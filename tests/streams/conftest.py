"""Topics, publishers and settings on the session's Kafka."""

import uuid
from collections.abc import AsyncIterator

import pytest

from streams.kafka.admin import Admin
from streams.kafka.publisher import Publisher
from streams.settings import KafkaSettings
from tests.streams.building import a_topic


@pytest.fixture
def kafka(kafka_bootstrap: str) -> KafkaSettings:
    """Settings with bounds that suit a test."""
    return KafkaSettings(
        bootstrap=kafka_bootstrap,
        session_timeout_s=6.0,
        drain_timeout_s=1.0,
        commit_interval_s=0.2,
    )


@pytest.fixture
def group() -> str:
    """A consumer group of this test alone."""
    return f"group-{uuid.uuid4()}"


@pytest.fixture
async def topics(kafka: KafkaSettings) -> list[str]:
    """Two new topics with two partitions each."""
    names = [f"test-{uuid.uuid4()}" for _ in range(2)]
    async with Admin(kafka) as admin:
        await admin.apply([a_topic(name) for name in names])
    return names


@pytest.fixture
async def publisher(kafka: KafkaSettings) -> AsyncIterator[Publisher]:
    """An open publisher."""
    publisher = Publisher(kafka, client_id="test")
    await publisher.open()
    yield publisher
    await publisher.close()
