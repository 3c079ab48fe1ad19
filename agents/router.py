"""Router: makes every decision about a task.

In: ``task-created``, ``task-commands``, ``step-results``. Out: ``task-events``, then the
step topics, ``control`` and dead letters; snapshots to ``task-state``. Delivery: an event is
in the log, and proved to be ours, before its effects are done, and an input is acknowledged
after both.
"""

from collections.abc import AsyncIterator

from faust.types import TP

from streams.ownership.kafka_world import WorldParts
from streams.ownership.partition import OwnedPartition
from streams.ownership.parts import OwnerParts
from streams.runtime.app import App, create_app
from streams.runtime.batches import batches
from streams.runtime.partitions import Partitions


def create_router(parts: OwnerParts, world: WorldParts) -> App:
    """Build the application of the router. One process owns all tasks of a partition."""
    app = create_app(world.group, world.kafka, copartitioned=True)
    app.remembers = frozenset((world.topics.task_events, world.topics.task_state))

    def pause(topic: str, partition: int, paused: bool) -> None:
        change = app.consumer.pause_partitions if paused else app.consumer.resume_partitions
        change([TP(topic, partition)])

    owners = Partitions(
        app,
        lambda p: OwnedPartition(p, parts, world, pause=pause, epochs=app.owner_epochs),
        # Started tasks continue before new ones begin.
        last=parts.topics.task_created,
    )

    @app.agent(app.topic(*parts.topics.router_inputs))  # type: ignore[untyped-decorator]
    async def route(stream: AsyncIterator[object]) -> None:
        async for batch in batches(stream):
            await owners.give(batch)

    return app
