"""``orchestrator usage``: tokens and money, from Postgres."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.cli import arguments
from orchestrator.cli.options import SinceOption, UntilOption
from orchestrator.cli.output import Output, OutputOption, dollars, print_json, print_table
from orchestrator.cli.running import open_reader, postgres_settings, run
from orchestrator.settings import Settings
from sinks.reads.usage import DIMENSIONS, UsageFilter, UsageRow

_LEAST_IMPORTANT = (
    *("wasted calls", "wasted in", "wasted out", "wasted USD"),
    *("calls", "tokens in", "tokens out", "tasks"),
)

By = StrEnum("By", {name.upper(): name for name in DIMENSIONS})  # type: ignore[misc]


def usage(
    by: Annotated[
        list[By] | None,
        typer.Option(
            help="Group by this; may be given several times; without it there is one sum."
        ),
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    tenant: Annotated[
        str | None, typer.Option(parser=arguments.words, help="Only this tenant.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Sum up what tasks consumed: calls, tokens and money; integers, money in micro-USD.

    The usage of attempts without a used result is counted separately, as wasted: the attempt
    failed, was given up, or a later run dropped its output. The report of an attempt that came
    too late is not an event of the log, so its usage is missing here. Days and times are those
    (UTC) at which the task was created.

    `-o json` prints one object a line: model, type, tenant, day, status (those of --by, the
    others are left out), tasks, calls, input_tokens, output_tokens, cost_micros, wasted_calls,
    wasted_input_tokens, wasted_output_tokens, wasted_cost_micros. A task with several models
    counts in the row of each.

    Exit status: 0 shown, 1 Postgres is the fault, 2 an argument is wrong.
    """
    grouped = tuple(name for name in DIMENSIONS if name in {item.value for item in by or ()})
    which = UsageFilter(by=grouped, since=since, until=until, tenant_id=tenant)
    rows = run(_usage(postgres_settings(), which))
    if output is Output.JSON:
        for row in rows:
            print_json(_document(row, grouped))
        return
    columns = (*grouped, "tasks", "calls", "tokens in", "tokens out", "USD")
    wasted = ("wasted calls", "wasted in", "wasted out", "wasted USD")
    cells = [_cells(row, grouped) for row in rows]
    print_table((*columns, *wasted), cells, output=output, drop=_LEAST_IMPORTANT)


async def _usage(settings: Settings, which: UsageFilter) -> list[UsageRow]:
    async with open_reader(settings) as reader:
        return await reader.usage(which)


def _document(row: UsageRow, grouped: tuple[str, ...]) -> dict[str, object]:
    fields = {
        name: value
        for name, value in asdict(row).items()
        if name not in DIMENSIONS or name in grouped
    }
    return fields | ({"day": row.day and row.day.isoformat()} if "day" in grouped else {})


def _cells(row: UsageRow, grouped: tuple[str, ...]) -> list[object]:
    return [
        *(getattr(row, name) or "-" for name in grouped),
        row.tasks,
        row.calls,
        row.input_tokens,
        row.output_tokens,
        dollars(row.cost_micros),
        row.wasted_calls,
        row.wasted_input_tokens,
        row.wasted_output_tokens,
        dollars(row.wasted_cost_micros),
    ]
