"""The raw chain's hops and records as plain Faust agents: one event at a time.

As Faust's documentation shows an agent: ``async for`` over the events, ``topic.send`` for each
record that follows, a database call for each row. ``send`` waits until the record is handed to
the producer, not until the broker has it: a kill may lose what our own publisher would not. All
settings are Faust's defaults, but for the web server and the leader's topic, which are off.
``--batched`` is the tuned one: the sink takes up to 500 events at a time and writes them by one
``UNNEST``; what is read ahead is 4,096 events.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from typing import Any

import asyncpg
import faust

from benchmarks.chains.raw import STEPS, UPSERT, Chain, Out, arguments, row_of
from schemas.codec import encode
from schemas.records import Lane
from schemas.topics import Topics, TopicsSettings

_TAKE = 500
_WITHIN_S = 0.05
_BUFFERED = 4_096


def an_app(role: str, bootstrap: str, prefix: str, folder: str, *, batched: bool) -> faust.App:
    """An application of its own for each role, as for each of our roles."""
    tuned = {"stream_buffer_maxsize": _BUFFERED, "broker_max_poll_records": _TAKE}
    return faust.App(
        f"{prefix}faust-{role}",
        broker=f"aiokafka://{bootstrap}",
        datadir=folder,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        **(tuned if batched else {}),
    )


def add_hops(
    app: faust.App, topics: Topics, names: list[str], handle: Callable[[Any], Out]
) -> None:
    """One agent that sends on what follows from each event."""
    out = {name: _topic(app, name) for name in _targets(topics)}

    @app.agent(_topic(app, *names))  # type: ignore[untyped-decorator]
    async def hop(stream: Any) -> None:
        async for event in stream.events():
            for name, record in handle(event.message):
                await out[name].send(
                    key=event.message.key,
                    value=encode(record),
                    partition=event.message.partition,
                )


def add_sink(app: faust.App, topics: Topics, dsn: str, *, batched: bool) -> None:
    """One agent that writes rows."""
    events = _topic(app, topics.task_events)

    async def write(connection: asyncpg.Connection, messages: list[Any]) -> None:
        rows = {task_id: rest for task_id, *rest in map(row_of, messages)}
        statuses, outputs = zip(*rows.values(), strict=True)
        await connection.execute(UPSERT, list(rows), statuses, outputs)

    @app.agent(events)  # type: ignore[untyped-decorator]
    async def sink(stream: Any) -> None:
        connection = await asyncpg.connect(dsn)
        if batched:
            async for taken in stream.take_events(_TAKE, within=_WITHIN_S):
                await write(connection, [event.message for event in taken])
        else:
            async for event in stream.events():
                await write(connection, [event.message])


def _targets(topics: Topics) -> list[str]:
    lanes = [topics.step(step, Lane.NORMAL) for step in STEPS]
    return [topics.task_events, topics.step_results, *lanes]


def _topic(app: faust.App, *names: str) -> Any:
    return app.topic(*names, key_type=bytes, value_type=bytes, value_serializer="raw")


async def main(
    role: str, bootstrap: str, prefix: str, dsn: str, folder: str, *, batched: bool
) -> None:
    topics = Topics(TopicsSettings(prefix=prefix))
    app = an_app(role, bootstrap, prefix, folder, batched=batched)
    chain = Chain(topics, bootstrap)
    if role == "router":
        add_hops(app, topics, [topics.task_created, topics.step_results], chain.route)
    elif role == "worker":
        add_hops(app, topics, [topics.step(step, Lane.NORMAL) for step in STEPS], chain.work)
    else:
        add_sink(app, topics, dsn, batched=batched)
    app.finalize()
    await app.start()
    await app.wait_until_stopped()


if __name__ == "__main__":
    given = arguments()
    with tempfile.TemporaryDirectory() as name:
        work = main(
            given.role, given.bootstrap, given.prefix, given.dsn, name, batched=given.batched
        )
        asyncio.run(work)
