"""PgQueuer: a job whose end enqueues a second one.

It keeps no results and no payloads of what is done: the result of step 1 is durable as the
payload of the second job until that is done, that of step 2 in a table of ours in the same
database, written by the job with its id, under which the log of the engine has its status.
"""

import asyncio
import json
import time
import uuid

import asyncpg
import given
from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.queries import Queries

TABLE = """
CREATE TABLE bench_results (
    task_id text PRIMARY KEY, job_id bigint NOT NULL, given text NOT NULL, output text NOT NULL
)
"""
INSERT = "INSERT INTO bench_results VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
COUNT = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"
DONE = "SELECT job_id FROM pgqueuer_log WHERE status = 'successful'"
RESULTS = "SELECT task_id, job_id FROM bench_results WHERE given = $1 AND output = $2"
_END_S = 300.0
_POLL_S = 0.1


def payload(task_id: str, value: str) -> bytes:
    """The task's id goes with what a step is given."""
    return json.dumps([task_id, value]).encode()


async def prepare() -> None:
    """Make the schema and the table of results."""
    connection = await asyncpg.connect(given.dsn())
    await Queries.from_asyncpg_connection(connection).install()
    await connection.execute(TABLE)
    await connection.close()


async def fill() -> None:
    """Enqueue all first jobs, 500 at a time; an entry is the id of a task and of its job."""
    connection = await asyncpg.connect(given.dsn())
    queries = Queries.from_asyncpg_connection(connection)
    entries = []
    for chunk in given.chunks([str(uuid.uuid4()) for _ in range(given.TASKS)]):
        jobs = await queries.enqueue(
            ["first"] * len(chunk),
            [payload(task_id, given.INPUT) for task_id in chunk],
            [0] * len(chunk),
        )
        entries += zip(chunk, map(int, jobs), strict=True)
    await connection.close()
    given.keep_ids(entries)


async def work() -> None:
    """Run jobs until this process is ended."""
    size = given.SETTINGS["pool"]
    async with asyncpg.create_pool(given.dsn(), min_size=size, max_size=size) as pool:
        if given.SETTINGS["driver"] == "pool":
            engine = PgQueuer.from_asyncpg_pool(pool)
        else:
            engine = PgQueuer.from_asyncpg_connection(await asyncpg.connect(given.dsn()))

        @engine.entrypoint("first")
        async def first(job: Job) -> None:
            task_id, _ = json.loads(job.payload)
            await engine.qm.queries.enqueue("second", payload(task_id, given.FIRST))

        @engine.entrypoint("second")
        async def second(job: Job) -> None:
            task_id, value = json.loads(job.payload)
            await pool.execute(INSERT, task_id, job.id, value, given.SECOND)

        await engine.run(**given.SETTINGS["run"])


async def wait() -> None:
    """Until both jobs of every task are in the log as successful."""
    connection = await asyncpg.connect(given.dsn())
    until = time.monotonic() + _END_S
    while await connection.fetchval(COUNT) < 2 * given.TASKS:
        if time.monotonic() > until:
            raise SystemExit(f"not done after {_END_S:g} s")
        await asyncio.sleep(_POLL_S)


async def read() -> int:
    """Status of both jobs, and both results, of each task."""
    connection = await asyncpg.connect(given.dsn())
    done = {row["job_id"] for row in await connection.fetch(DONE)}
    results = dict(await connection.fetch(RESULTS, given.FIRST, given.SECOND))
    return sum(
        first_job in done and results.get(task_id) in done for task_id, first_job in given.ids()
    )


if __name__ == "__main__":
    commands = {"prepare": prepare, "fill": fill, "work": work, "wait": wait, "read": read}
    given.run({name: lambda way=way: asyncio.run(way()) for name, way in commands.items()})
