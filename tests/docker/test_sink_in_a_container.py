"""The sink against Postgres as its official image runs it.

``TEST_POSTGRES_IMAGE`` names another image than ``postgres:18``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from testcontainers.community.postgres import PostgresContainer

from schemas.records import TaskId
from sinks.reads.reader import Reader
from sinks.schema.migrate import migrate_status, migrate_up
from sinks.settings import PostgresSettings
from sinks.writer import Writer
from tests.docker.engine import require_an_engine
from tests.sinks.building import a_completed_log, write_on

pytestmark = pytest.mark.docker

IMAGE = os.environ.get("TEST_POSTGRES_IMAGE", "postgres:18")


async def test_a_batch_written_twice_into_a_container_is_read_back_once() -> None:
    log = a_completed_log()
    with a_postgres_container() as dsn:
        await migrate_up(dsn)
        writer, reader = Writer(PostgresSettings(dsn=dsn)), Reader(PostgresSettings(dsn=dsn))
        await writer.open()
        await reader.open()
        await write_on(writer, log.events)
        await write_on(writer, log.events)

        task = await reader.task(TaskId("task_1"))
        trail = await reader.logs(TaskId("task_1"))
        applied = [status.applied_at for status in await migrate_status(dsn)]
        await writer.close()
        await reader.close()

    assert task is not None
    assert (task.status, task.sequence) == ("completed", 4)
    assert len(trail) == len(log.events)
    assert all(applied)


@contextmanager
def a_postgres_container() -> Iterator[str]:
    """The DSN of a Postgres that lives as long as the block."""
    require_an_engine()
    # driver=None: a plain libpq URI.
    with PostgresContainer(IMAGE, driver=None) as container:
        yield container.get_connection_url()
