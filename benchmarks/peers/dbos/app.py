"""DBOS: a durable workflow of two steps, from a queue in Postgres, in worker processes."""

import os
import threading
import uuid

import given
import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig

QUEUE, VERSION = "bench", "1"
URL = given.dsn()
SQL_URL = given.dsn("postgresql+psycopg")
STEPS = """
SELECT count(*) FROM dbos.operation_outputs
WHERE (function_id, function_name) IN ((1, 'first'), (2, 'second'))
"""
COUNT = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"


@DBOS.step()
def first(payload: str) -> str:
    """Step 1."""
    return given.FIRST


@DBOS.step()
def second(payload: str) -> str:
    """Step 2."""
    return given.SECOND


@DBOS.workflow()
def bench(payload: str) -> str:
    """Both steps, each recorded before the next."""
    return second(first(payload))


def launch() -> None:
    """Start DBOS in this process, with the settings of the run."""
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": URL,
        "application_version": VERSION,
        "executor_id": f"worker-{os.getpid()}",
        "log_level": "WARNING",
        **given.SETTINGS["process"],
    }
    DBOS(config=config)
    DBOS.launch()


def prepare() -> None:
    """Make the schema and the queue."""
    launch()
    DBOS.register_queue(QUEUE, **given.SETTINGS["queue"])
    DBOS.destroy()


def fill() -> None:
    """Enqueue all workflows, 500 in a transaction."""
    client = DBOSClient(system_database_url=URL)
    engine = sa.create_engine(SQL_URL)
    ids = [str(uuid.uuid4()) for _ in range(given.TASKS)]
    for chunk in given.chunks(ids):
        with engine.begin() as connection:
            for workflow_id in chunk:
                client.enqueue_in_transaction(
                    connection,
                    {
                        "workflow_name": bench.__qualname__,
                        "queue_name": QUEUE,
                        "workflow_id": workflow_id,
                        "app_version": VERSION,
                    },
                    given.INPUT,
                )
    client.destroy()
    given.keep_ids(ids)


def work() -> None:
    """Run workflows of the queue until this process is ended."""
    launch()
    threading.Event().wait()


def wait() -> None:
    """Until every workflow succeeded."""
    with sa.create_engine(SQL_URL, isolation_level="AUTOCOMMIT").connect() as connection:
        given.wait_for(lambda: connection.execute(sa.text(COUNT)).scalar_one(), given.TASKS)


def read() -> int:
    """Status and output of each workflow, by DBOS' own client; both steps have to be recorded."""
    with sa.create_engine(SQL_URL).connect() as connection:
        if connection.execute(sa.text(STEPS)).scalar_one() != 2 * given.TASKS:
            return 0
    client = DBOSClient(system_database_url=URL)
    right = 0
    for chunk in given.chunks(given.ids()):
        found = client.list_workflows(workflow_ids=list(chunk))
        done = {w.workflow_id for w in found if w.status == "SUCCESS" and w.output == given.SECOND}
        right += sum(workflow_id in done for workflow_id in chunk)
    client.destroy()
    return right


if __name__ == "__main__":
    given.run({"prepare": prepare, "fill": fill, "work": work, "wait": wait, "read": read})
