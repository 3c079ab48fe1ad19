"""A log and a projection for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.agents.projecting import Sink, a_sink


@pytest.fixture
async def sink(kafka_bootstrap: str, postgres_dsn: str) -> AsyncIterator[Sink]:
    """A log of one partition, and a database with the schema."""
    async with a_sink(kafka_bootstrap, postgres_dsn) as opened:
        yield opened
