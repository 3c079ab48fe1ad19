"""Procrastinate: a job whose end defers a second one.

It keeps no results: the one of step 1 is in the arguments of the second job, which it keeps,
and that of step 2 in a table of ours in the same database, written by the job.
"""

import asyncio
import uuid

import given
import procrastinate
import psycopg
from psycopg_pool import AsyncConnectionPool

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=given.dsn(), **given.SETTINGS["connector"])
)
TABLE = "CREATE TABLE bench_results (task_id text PRIMARY KEY, output text NOT NULL)"
INSERT = "INSERT INTO bench_results VALUES (%s, %s) ON CONFLICT DO NOTHING"
COUNT = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"
JOBS = """
SELECT args->>'task_id' FROM procrastinate_jobs
WHERE status = 'succeeded' AND task_name = %s AND args->>'payload' = %s
"""
RESULTS = "SELECT task_id FROM bench_results WHERE output = %s"
pool: AsyncConnectionPool | None = None


@app.task(name="first")
async def first(task_id: str, payload: str) -> None:
    """Step 1; the next job carries its result."""
    await second.defer_async(task_id=task_id, payload=given.FIRST)


@app.task(name="second")
async def second(task_id: str, payload: str) -> None:
    """Step 2."""
    assert pool is not None
    async with pool.connection() as connection:
        await connection.execute(INSERT, (task_id, given.SECOND))


async def prepare() -> None:
    """Make the schema and the table of results."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
    async with await psycopg.AsyncConnection.connect(given.dsn()) as connection:
        await connection.execute(TABLE)


async def fill() -> None:
    """Defer all first jobs, 500 at a time."""
    ids = [str(uuid.uuid4()) for _ in range(given.TASKS)]
    async with app.open_async():
        for chunk in given.chunks(ids):
            await first.batch_defer_async(
                *({"task_id": task_id, "payload": given.INPUT} for task_id in chunk)
            )
    given.keep_ids(ids)


async def work() -> None:
    """Run jobs until this process is ended."""
    global pool
    size = given.SETTINGS["results_pool"]
    async with (
        AsyncConnectionPool(given.dsn(), min_size=size, max_size=size) as pool,
        app.open_async(),
    ):
        await app.run_worker_async(**given.SETTINGS["worker"])


def wait() -> None:
    """Until both jobs of every task succeeded."""
    with psycopg.connect(given.dsn(), autocommit=True) as connection:
        given.wait_for(lambda: connection.execute(COUNT).fetchone()[0], 2 * given.TASKS)


def read() -> int:
    """Status of both jobs, and both results, of each task."""
    with psycopg.connect(given.dsn()) as connection:
        done = [
            {task_id for (task_id,) in connection.execute(query, parameters)}
            for query, parameters in (
                (JOBS, ("first", given.INPUT)),
                (JOBS, ("second", given.FIRST)),
                (RESULTS, (given.SECOND,)),
            )
        ]
    return sum(all(task_id in each for each in done) for task_id in given.ids())


if __name__ == "__main__":
    given.run(
        {
            "prepare": lambda: asyncio.run(prepare()),
            "fill": lambda: asyncio.run(fill()),
            "work": lambda: asyncio.run(work()),
            "wait": wait,
            "read": read,
        }
    )
