"""``orchestrator topics adopt``: go on with a topic that was made again, mirrored or cut."""

from typing import Annotated

import typer

from orchestrator.cli.arguments import check_reason, default_actor
from orchestrator.cli.options import ActorOption, ExecuteOption, ReasonOption
from orchestrator.cli.output import print_line, print_table
from orchestrator.cli.running import kafka_settings, run
from orchestrator.settings import Settings
from schemas.topics import Topics
from streams.kafka.publisher import Publisher
from streams.ownership.adoption import AdoptedAs, Candidate, adopt, candidate, check

_COLUMNS = ("partition", "first", "end", "remembered id", "log up to", "created up to")


def adopt_topic(
    topic: Annotated[
        str,
        typer.Argument(
            help="One of task-created, task-commands, step-results, task-events and task-state."
        ),
    ],
    how: Annotated[
        AdoptedAs,
        typer.Option(
            "--as",
            help="again: the topic was made again, and nothing of it is remembered. mirror: the "
            "topic holds the same records at the same offsets. trimmed: the events that the log "
            "lost are given up.",
        ),
    ],
    reason: ReasonOption = "",
    actor: ActorOption = None,
    execute: ExecuteOption = False,
) -> None:
    """Say what a topic is that routers no longer know, so that they go on.

    Prints a line for each partition: the first offset and the end of the topic, and beside them
    what routers remember: the topic's id, how far the log is in snapshots, and how far
    task-created was decided. Changes nothing without --execute. Routers that wait for the topic
    go on within seconds; restart the others.
    """
    check_reason(execute=execute, reason=reason)
    settings = kafka_settings()
    run(_adopt(settings, topic, how, reason, actor or default_actor(), execute))


async def _adopt(
    settings: Settings, name: str, how: AdoptedAs, reason: str, actor: str, execute: bool
) -> None:
    topics = Topics(settings.topics)
    found = await candidate(settings.kafka, topics, _full_name(name, settings))
    _show(found)
    check(found, topics, how)
    if not execute:
        print_line(f"nothing was changed; adopt it as {how} with --execute --reason TEXT")
        return
    publisher = Publisher(settings.kafka, client_id=f"{settings.kafka.client_id}-adopt")
    await publisher.open()
    try:
        await adopt(publisher, topics, found, how, actor=actor, reason=reason)
    finally:
        await publisher.close()
    print_line(f"{found.topic} adopted as {how} in {len(found.partitions)} partitions")


def _show(found: Candidate) -> None:
    rows = []
    for known in found.partitions:
        point = known.checkpoint
        remembered: tuple[object, ...] = (None, None, None)
        if point is not None:
            topic_id = point.topics.get(found.topic, "")
            remembered = (topic_id[:8], point.offset, point.decided_created + 1)
        rows.append((known.partition, known.first, known.end, *remembered))
    print_line(f"{found.topic} has the id {found.topic_id}")
    print_table(_COLUMNS, rows, drop=())


def _full_name(name: str, settings: Settings) -> str:
    """The name of a topic that may be given without prefix and version."""
    prefix = settings.topics.prefix
    full = name if name.startswith(prefix) else f"{prefix}{name}"
    return full if full.endswith(".v1") else f"{full}.v1"
