"""``orchestrator topics plan-growth``: the way to more partitions."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import Annotated

import typer

from orchestrator.cli.output import (
    Output,
    OutputOption,
    print_json,
    print_line,
    print_text,
    terminal_width,
)
from orchestrator.cli.running import kafka_settings, open_reader, postgres_settings, run
from orchestrator.group_checks import read_groups
from orchestrator.growth import GrowthStep, Left, grown, growth_steps
from orchestrator.pipelines import installed_pipelines
from orchestrator.row_checks import rows_standing
from orchestrator.settings import Settings
from schemas.records import TaskStatus
from sinks.errors import SinkPositionError

_ENDED = frozenset(status for status in TaskStatus if status.terminal)


def plan_growth(
    partitions: Annotated[
        int, typer.Option("--partitions", help="How many each topic of tasks shall have.")
    ],
    prefix: Annotated[
        str,
        typer.Option("--prefix", help="Of the new topics; without it made from the number."),
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the way to more partitions, and what the present system still has to do.

    The number of a topic that holds tasks cannot change, so the way is a second system beside
    this one. Changes nothing. `-o json` prints one object: steps, left, drained.
    """
    settings = kafka_settings()
    postgres_settings()
    wanted = grown(settings.topics, partitions, prefix)
    steps = growth_steps(settings.topics, wanted)
    left = run(_left(settings))
    if output is Output.JSON:
        print_json(
            {
                "steps": [asdict(step) for step in steps],
                "left": asdict(left),
                "drained": left.drained,
            }
        )
        return
    print_line(f"From {settings.topics.partitions} to {partitions} partitions:")
    for number, step in enumerate(steps, 1):
        _show(number, step)
    print_line()
    print_line(_said(left))


async def _left(settings: Settings) -> Left:
    """Ask Kafka and Postgres.

    Raises:
        KafkaUnavailableError: no broker answers.
        SinkUnavailableError: Postgres does not answer.
        SinkPositionError: the rows are not of this log; they say nothing about what is left.
    """
    pipelines = installed_pipelines(settings.pipelines)
    client_id = f"{settings.kafka.client_id}-growth"
    readings = await read_groups(settings, pipelines, client_id=client_id)
    stands = await rows_standing(settings, pipelines, client_id=client_id, reads=True)
    if stands.wrong or stands.foreign:
        raise SinkPositionError(
            "Postgres has rows of another system, which do not say what is left in this one: "
            + (stands.wrong or stands.foreign)[0]
        )
    async with open_reader(settings) as rows:
        statuses = await rows.count_by_status()
        letters = await rows.fetch("count_open")
    return Left(
        unread=sum(reading.unread for reading in readings.values()),
        unwritten=stands.unwritten,
        tasks=sum(count for status, count in statuses.items() if status not in _ENDED),
        letters=sum(row["count"] for row in letters),
    )


def _show(number: int, step: GrowthStep) -> None:
    text, width = f"{number}. {step.what}", terminal_width()
    print_text(text if width is None else textwrap.fill(text, width, subsequent_indent="   "))
    for command in step.commands:
        print_line(f"     {command}")


def _said(left: Left) -> str:
    if left.drained:
        return "Nothing is left in the present system: it can be stopped."
    return (
        f"Left in the present system: {left.unread} unread records, {left.unwritten} that are "
        f"not in Postgres yet, {left.tasks} tasks that have not ended, {left.letters} open dead "
        "letters."
    )
