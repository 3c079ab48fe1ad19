"""A step's topics and a service, for tests of step workers."""

from collections.abc import AsyncIterator

import pytest

from streams.settings import KafkaSettings
from tests.agents.working import Service, Site, a_site


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
