"""The check of `orchestrator doctor` on rows: whether they belong to the logs of this system."""

from __future__ import annotations

from collections.abc import Iterator

from agents.projection.standing import Standing, standing
from orchestrator.layout import DLQ_INDEX, consumer_groups
from orchestrator.settings import Settings
from schemas.errors import OrchestratorError
from schemas.findings import Finding, Severity
from schemas.topics import Topics
from sinks.errors import SinkPositionError
from sinks.reads.positions import read_all_positions
from streams.kafka.log_reader import LogReader
from tasks.pipeline import Pipelines

_ABOUT = "rows"
_SHOWN_MAX = 3


async def rows_standing(
    settings: Settings, pipelines: Pipelines, *, client_id: str, reads: bool
) -> Standing:
    """Compare the positions in Postgres with the logs.

    Args:
        settings: of the system.
        pipelines: their steps have topics.
        client_id: how the connection appears in the broker's logs.
        reads: see :func:`~sinks.reads.positions.read_all_positions`.

    Raises:
        KafkaUnavailableError: no broker answers.
        SinkUnavailableError: Postgres does not answer.
        MigrationError: the tables are not there yet.
    """
    stored = await read_all_positions(settings.postgres, reads=reads)
    groups = consumer_groups(settings, pipelines)
    indexed = groups[settings.topics.prefix + DLQ_INDEX]
    async with LogReader(settings.kafka, client_id=client_id, committed=False) as reader:
        return await standing(reader, Topics(settings.topics), indexed, stored)


async def check_rows(settings: Settings, pipelines: Pipelines) -> list[Finding]:
    """Find positions of the sink that the log does not hold, and letters of another system."""
    client_id = f"{settings.kafka.client_id}-doctor-rows"
    if not settings.kafka.bootstrap:
        return [_not_compared("the address of Kafka is not set")]
    try:
        found = await rows_standing(settings, pipelines, client_id=client_id, reads=False)
    except OrchestratorError as error:
        # The checks of each server say what is wrong with it.
        return [_not_compared(f"{error.code}: {error}")]
    return list(standing_findings(found))


def standing_findings(found: Standing) -> Iterator[Finding]:
    """What is wrong with the positions of the rows. Pure."""
    if found.wrong:
        shown = "; ".join(found.wrong[:_SHOWN_MAX])
        yield Finding(
            severity=Severity.FATAL,
            about=_ABOUT,
            what=f"{SinkPositionError.code}: {shown} ({len(found.wrong)} partitions)",
            breaks="the sink ends at each start: rows stay as they are; tasks go on",
            fix="set ORCH_POSTGRES_DSN to the database of this system; if it is this one, "
            "orchestrator sink rebuild",
        )
    if found.foreign:
        shown = ", ".join(found.foreign[:_SHOWN_MAX])
        yield Finding(
            severity=Severity.WARNING,
            about=_ABOUT,
            what=f"the index holds dead letters of other topics: {shown} ({len(found.foreign)})",
            breaks="letters of another system are listed beside those of this one",
            fix="set ORCH_POSTGRES_DSN to the database of this system: one belongs to one log",
        )


def _not_compared(why: str) -> Finding:
    return Finding(
        severity=Severity.INFO,
        about=_ABOUT,
        what=f"not compared with the log: {why}",
        breaks="nothing by itself",
        fix="see what the other lines say",
    )
