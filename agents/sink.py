"""Sink: materializes the state of every task in Postgres.

In: ``task-events``. Out: rows, and dead letters for records that are not an event or cannot
become a row. Delivery: a batch's rows and its position are one transaction, so each event
has its effect once; the offset is acknowledged afterwards, as a hint for lag tools.
"""

from collections.abc import AsyncIterator

from agents.projection.counts_export import CountsExport
from agents.projection.projector import Projector, ProjectorParts
from sinks.writer import EVENTS_MAX
from streams.runtime.app import App, create_app
from streams.runtime.batches import batches
from streams.runtime.partitions import Partitions


def create_sink(parts: ProjectorParts, counts: CountsExport | None = None) -> App:
    """Build the application of the sink; ``counts`` follows its partitions."""
    # Only routers write this topic: a stranger's open transaction must not stop it.
    app = create_app(parts.group, parts.kafka, reads_committed=False)
    projectors = Partitions(
        app, lambda partition: Projector(partition, parts), batch_max=EVENTS_MAX
    )
    if counts is not None:
        app.drainables.append(counts)

    @app.agent(app.topic(parts.topics.task_events))  # type: ignore[untyped-decorator]
    async def project(stream: AsyncIterator[object]) -> None:
        async for batch in batches(stream):
            await projectors.give(batch)

    return app
