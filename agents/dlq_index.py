"""Dead-letter index: a table of all dead letters, and of the actions on them.

In: every ``dlq.*`` topic and ``dlq-actions``. Out: rows of ``dead_letters``, and actions that
close letters automatically. Delivery: rows and positions are one transaction; an action that
is appended twice changes nothing.
"""

from collections.abc import AsyncIterator

from agents.letters.indexer import Indexer
from agents.letters.parts import IndexerParts
from streams.runtime.app import App, create_app
from streams.runtime.batches import batches
from streams.runtime.partitions import Partitions


def create_dlq_index(parts: IndexerParts) -> App:
    """Build the application of the dead-letter index."""
    app = create_app(parts.group, parts.kafka)
    indexers = Partitions(app, lambda partition: Indexer(partition, parts))
    consumed = [*parts.dlq_topics, parts.topics.dlq_actions]

    @app.agent(app.topic(*consumed))  # type: ignore[untyped-decorator]
    async def index(stream: AsyncIterator[object]) -> None:
        async for batch in batches(stream):
            await indexers.give(batch)

    return app
