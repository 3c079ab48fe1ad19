"""The rate of a running engine that gets all tasks at once."""

import time

import asyncpg

from benchmarks.harness.arrivals import create
from benchmarks.harness.commit_clock import COMMITTED_AT
from benchmarks.harness.deployment import Deployment

READY_S = 120.0
"""In which an engine that was just started completes its first tasks."""
_WARM_TASKS = 200
_END_S = 600.0


async def make_ready(at: Deployment, connection: asyncpg.Connection) -> list[str]:
    """Let some tasks go through all processes of an engine that was just started; their ids."""
    ids = await create(at, _WARM_TASKS)
    await at.until_completed(connection, len(ids), READY_S)
    return ids


async def rate_at_once(at: Deployment, tasks: int) -> float:
    """Tasks/s from before the tasks are published until the commit of the last row.

    Before that, some tasks go through all processes, so that these are ready.
    """
    connection = await asyncpg.connect(at.settings.postgres.dsn)
    warm = await make_ready(at, connection)
    began = time.time()
    ids = await create(at, tasks)
    await at.until_completed(connection, len(warm) + tasks, _END_S)
    ended: float = await connection.fetchval(
        f"SELECT max({COMMITTED_AT}) FROM {at.table} WHERE id = ANY ($1::text[])", ids
    )
    await connection.close()
    await at.verify(ids)
    return tasks / (ended - began)
