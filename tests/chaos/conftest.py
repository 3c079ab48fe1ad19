"""A system of its own for each module of chaos."""

import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from tests.chaos.chaos import Chaos
from tests.chaos.form import Form, form_from_environment
from tests.chaos.system import open_chaos


@pytest.fixture(scope="session")
def form() -> Form:
    # Our own clients complain with many lines while the broker is away on purpose.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    form = form_from_environment()
    print(f"\nchaos: {form}; again with CHAOS_SEED={form.seed}")
    return form


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chaos(
    kafka_server: EmbeddedKafka,
    postgres_server: EmbeddedPostgres,
    form: Form,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Chaos]:
    """The running system, under watch."""
    folder = tmp_path_factory.mktemp("chaos")
    async with open_chaos(kafka_server, postgres_server, form, folder) as chaos:
        yield chaos
