"""What a replay works with, opened on a workplace."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agents.projection.late_rows import LateRows
from orchestrator.layout import ROUTER
from orchestrator.letters.workplace import Workplace
from sinks.errors import SinkUnavailableError
from sinks.letters.rewriter import Rewriter
from streams.letters.canary import Canary
from streams.letters.replay import ReplayParts


async def replay_parts(
    place: Workplace, progress: Callable[[Mapping[str, int]], None] = lambda _: None
) -> ReplayParts:
    """Open what a replay needs; it is closed with the workplace.

    Args:
        place: open.
        progress: told the counts after each batch.

    Raises:
        PublishError: no broker answered.
    """
    settings, topics = place.settings, place.topics
    watched = [*place.dlq_topics, topics.task_events]
    places = await place.reader.all_partitions(watched)
    return ReplayParts(
        topics=topics,
        router_group=settings.topics.prefix + ROUTER,
        reader=place.reader,
        log=place.log,
        publisher=await place.publisher(),
        rows=LateRows(place.reader, topics, await _rewriter(place)),
        canary=Canary(place.reader, settings.kafka, topics, places),
        progress=progress,
    )


async def _rewriter(place: Workplace) -> Rewriter | None:
    """For dead letters of the sink; the others need no Postgres."""
    if not place.settings.postgres.dsn:
        return None
    rewriter = Rewriter(place.settings.postgres)
    try:
        await rewriter.open()
    except SinkUnavailableError:
        return None
    place.resources.push_async_callback(rewriter.close)
    return rewriter
