"""Builds the parts of a replay on open connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agents.projection.late_rows import LateRows
from orchestrator.layout import ROUTER
from orchestrator.letters.connections import LetterConnections
from sinks.errors import SinkUnavailableError
from sinks.letters.rewriter import Rewriter
from streams.letters.canary import Canary
from streams.letters.replay import ReplayParts


async def replay_parts(
    connections: LetterConnections, progress: Callable[[Mapping[str, int]], None] = lambda _: None
) -> ReplayParts:
    """Open the parts of a replay; they are closed with the connections.

    Args:
        connections: open.
        progress: called with the counts after each batch.

    Raises:
        PublishError: no broker answered.
    """
    settings, topics = connections.settings, connections.topics
    watched = [*connections.dlq_topics, topics.task_events]
    places = await connections.reader.all_partitions(watched)
    return ReplayParts(
        topics=topics,
        router_group=settings.topics.prefix + ROUTER,
        reader=connections.reader,
        log=connections.log,
        publisher=await connections.publisher(),
        rows=LateRows(connections.reader, topics, await _rewriter(connections)),
        canary=Canary(connections.reader, settings.kafka, topics, places),
        progress=progress,
    )


async def _rewriter(connections: LetterConnections) -> Rewriter | None:
    """For dead letters of the sink; other letters do not need Postgres."""
    if not connections.settings.postgres.dsn:
        return None
    rewriter = Rewriter(connections.settings.postgres)
    try:
        await rewriter.open()
    except SinkUnavailableError:
        return None
    connections.resources.push_async_callback(rewriter.close)
    return rewriter
