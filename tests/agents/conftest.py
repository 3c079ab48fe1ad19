"""A step's topics and a service; a log and a projection: for each test its own."""

from collections.abc import AsyncIterator

import pytest

from streams.settings import KafkaSettings
from tests.agents.projection.projecting import Sink, a_sink
from tests.agents.steps.working import Service, Site, a_site


@pytest.fixture
async def site(kafka_bootstrap: str) -> AsyncIterator[Site]:
    """Topics of its own for each test."""
    kafka = KafkaSettings(
        bootstrap=kafka_bootstrap,
        session_timeout_s=6.0,
        drain_timeout_s=1.0,
        commit_interval_s=0.2,
    )
    async with a_site(kafka) as site:
        yield site


@pytest.fixture
async def service() -> Service:
    """A service that answers at once until it is told otherwise."""
    return Service()


@pytest.fixture
async def sink(kafka_bootstrap: str, postgres_dsn: str) -> AsyncIterator[Sink]:
    """A log of one partition, and a database with the schema."""
    async with a_sink(kafka_bootstrap, postgres_dsn) as opened:
        yield opened
