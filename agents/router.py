"""Router: decides what becomes of every task.

In: ``task-created``, ``task-commands``, ``step-results``. Out: ``task-events``, then the
step topics, ``control`` and dead letters. Delivery: an event is in the log before anything
that follows from it is done, and an input is acknowledged after both.
"""

from collections.abc import AsyncIterator

from streams.app import App, create_app
from streams.batches import batches
from streams.ownership.owner import Owner, OwnerParts
from streams.partitions import Partitions


def create_router(parts: OwnerParts) -> App:
    """Build the application of the router. One process owns all tasks of a partition."""
    app = create_app(parts.group, parts.kafka)
    owners = Partitions(app, lambda partition: Owner(partition, parts))

    @app.agent(app.topic(*parts.topics.router_inputs))  # type: ignore[untyped-decorator]
    async def route(stream: AsyncIterator[object]) -> None:
        async for batch in batches(stream):
            await owners.give(batch)

    return app
