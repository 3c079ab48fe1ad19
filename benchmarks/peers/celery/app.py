"""Celery: a chain of two tasks, acknowledged late, with the result of each in the backend."""

import uuid

import given
import redis
import sqlalchemy as sa
from celery import Celery, chain

BROKER = f"redis://{given.address('redis')}/0"
RESULTS = f"redis://{given.address('redis')}/1"
BY_POSTGRES = given.SETTINGS["results"] == "postgres"
COUNT = "SELECT count(*) FROM celery_taskmeta WHERE status = 'SUCCESS'"

app = Celery(
    "bench",
    broker=BROKER,
    backend=given.dsn("db+postgresql+psycopg2") if BY_POSTGRES else RESULTS,
)
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, **given.SETTINGS["conf"])


@app.task(name="first")
def first(payload: str) -> str:
    """Step 1."""
    return given.FIRST


@app.task(name="second")
def second(payload: str) -> str:
    """Step 2."""
    return given.SECOND


def prepare() -> None:
    """Make the tables of the results, before workers that would all make them at once."""
    if BY_POSTGRES:
        app.backend.ResultSession().close()


def fill() -> None:
    """Submit all chains; an entry is the ids of both tasks."""
    ids = []
    for _ in range(given.TASKS):
        one, two = str(uuid.uuid4()), str(uuid.uuid4())
        chain(first.s(given.INPUT).set(task_id=one), second.s().set(task_id=two)).apply_async()
        ids.append([one, two])
    given.keep_ids(ids)


def work() -> None:
    """Run tasks until this process is ended."""
    app.worker_main(["worker", "--loglevel", "warning", *given.SETTINGS["worker"]])


def wait() -> None:
    """Until both results of every chain are in the backend."""
    if BY_POSTGRES:
        url = given.dsn("postgresql+psycopg2")
        with sa.create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
            given.wait_for(lambda: connection.execute(sa.text(COUNT)).scalar_one(), 2 * given.TASKS)
    else:
        # Nothing but results is in this database of Redis.
        given.wait_for(redis.Redis.from_url(RESULTS).dbsize, 2 * given.TASKS)


def read() -> int:
    """State and result of both tasks of each chain, by Celery's own client."""
    return sum(_is(one, given.FIRST) and _is(two, given.SECOND) for one, two in given.ids())


def _is(task_id: str, wanted: str) -> bool:
    found = app.backend.get_task_meta(task_id)
    return bool(found["status"] == "SUCCESS" and found["result"] == wanted)


if __name__ == "__main__":
    given.run({"prepare": prepare, "fill": fill, "work": work, "wait": wait, "read": read})
