"""``orchestrator sink``: rebuilds, verifies and cuts the projection in Postgres."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, TypeVar

import typer

from agents.projection.rebuild import RebuildParts
from agents.projection.rebuild import rebuild as rebuild_projection
from agents.projection.rebuild import verify as verify_projection
from orchestrator.cli import arguments
from orchestrator.cli.environment import command_settings, not_set
from orchestrator.cli.output import Output, OutputOption, print_json, print_line
from orchestrator.cli.running import log_to_standard_error
from orchestrator.schema_ids import use_schema_ids
from orchestrator.settings import Settings
from schemas.topics import Topics
from sinks.missing import Missing
from sinks.schema.retention import drop_months
from sinks.verify import Comparison

app = typer.Typer(help="The projection in Postgres.", no_args_is_help=True)

T = TypeVar("T")


@app.command()
def rebuild(output: OutputOption = Output.TABLE) -> None:
    """Rebuild the rows of all tasks whose log still exists.

    The sink and all readers go on meanwhile. Rows of older tasks stay. Also makes the schema.

    `-o json` prints one object: tasks, rows (written, by table) and missing (gaps of the log, the
    number of tasks without a row, the ids of some).

    Exit status: 0 rebuilt, 1 the log no longer holds events of missing rows, which are listed.
    """
    swapped = asyncio.run(_with_schemas(rebuild_projection))
    if output is Output.JSON:
        missing = _missing_fields(swapped.missing)
        print_json({"tasks": swapped.tasks, "rows": swapped.changed, "missing": missing})
    else:
        print_line(f"{swapped.tasks} tasks rebuilt")
        for table, rows in swapped.changed.items():
            print_line(f"{rows} rows written to {table}")
        _print_missing(swapped.missing)
    if swapped.missing:
        raise typer.Exit(1)


@app.command()
def verify(output: OutputOption = Output.TABLE) -> None:
    """Compare the rows with the fold of the log, and list different and missing ones.

    The hash is of all rows that were compared, without identities and write times.

    Counts of metrics are compared where the log holds all that they count.

    What the sink has not written yet is not compared: after a restore, wait until it is nothing.

    `-o json` prints one object: tasks, rows, older, counted (partitions whose counts were
    compared), hash, unwritten (records of the log that the sink has not written yet), differences
    (how many), listed (some of them: task_id, kind, place, what) and missing, as `sink rebuild`
    prints it.

    Exit status: 0 rows and log agree as far as the sink has written, 1 they differ, or rows are
    missing.
    """
    found = asyncio.run(_with_schemas(verify_projection))
    if output is Output.JSON:
        print_json(_comparison_fields(found))
    else:
        _print_comparison(found)
    if found.differences or found.missing:
        raise typer.Exit(1)


@app.command()
def retention(
    older_than: Annotated[
        datetime,
        typer.Option(
            parser=arguments.whole_days,
            metavar="TIME",
            help="Drop months that ended before this: days ago, as in 400d, or a day.",
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be dropped, and drop nothing.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Drop months of tasks and of the trail. A month with a task that has not ended is kept.

    `-o json` prints one object a line: month, unfinished (its tasks that have not ended), dropped.
    """
    settings = _settings()
    for month in asyncio.run(drop_months(settings.postgres, older_than, dry_run=dry_run)):
        if output is Output.JSON:
            dropped = not month.unfinished and not dry_run
            print_json({"month": month.name, "unfinished": month.unfinished, "dropped": dropped})
        elif month.unfinished:
            print_line(f"kept {month.name}: {month.unfinished} tasks have not ended")
        else:
            print_line(f"{'would drop' if dry_run else 'dropped'} {month.name}")


def _print_comparison(found: Comparison) -> None:
    print_line(
        f"{found.tasks} tasks compared, {found.rows} rows; {found.older} older rows left out"
    )
    print_line(f"counts of {found.counted} partitions compared")
    print_line(f"hash {found.hash}")
    for difference in found.listed:
        task = f" of {difference.task_id}" if difference.task_id else ""
        print_line(f"{difference.what}: {difference.kind} {difference.place}{task}")
    if found.differences:
        print_line(f"{found.differences} differences")
    _print_missing(found.missing)
    if found.unwritten:
        print_line(f"{found.unwritten} records of the log are not written yet")
    if not found.differences and not found.missing:
        print_line(f"rows and log agree{' up to there' if found.unwritten else ''}")


def _comparison_fields(found: Comparison) -> dict[str, object]:
    return {
        "tasks": found.tasks,
        "rows": found.rows,
        "older": found.older,
        "counted": found.counted,
        "hash": found.hash,
        "unwritten": found.unwritten,
        "differences": found.differences,
        "listed": [asdict(difference) for difference in found.listed],
        "missing": _missing_fields(found.missing),
    }


def _missing_fields(missing: Missing) -> dict[str, object]:
    return {
        "gaps": [asdict(gap) for gap in missing.gaps],
        "tasks": missing.tasks,
        "named": list(missing.named),
    }


def _print_missing(missing: Missing) -> None:
    for gap in missing.gaps:
        print_line(
            f"missing: offsets {gap.first_offset} to {gap.end_offset - 1} of task-events"
            f"[{gap.partition}] ({gap.offsets}) left the log before the sink wrote them"
        )
    if missing.tasks:
        print_line(f"missing: {missing.tasks} tasks have no row, and the log cannot give it back:")
        more = missing.tasks - len(missing.named)
        print_line(f"  {' '.join(missing.named)}{f' and {more} more' if more else ''}")
        print_line("  orchestrator dlq list --topic task-events shows those that were refused")


async def _with_schemas(work: Callable[[RebuildParts], Awaitable[T]]) -> T:
    settings = _settings()
    if not settings.kafka.bootstrap:
        raise not_set("ORCH_KAFKA_BOOTSTRAP")
    await use_schema_ids(settings)
    parts = RebuildParts(
        kafka=settings.kafka,
        topics=Topics(settings.topics),
        limits=settings.limits,
        postgres=settings.postgres,
    )
    return await work(parts)


def _settings() -> Settings:
    settings = command_settings()
    log_to_standard_error()
    if not settings.postgres.dsn:
        raise not_set("ORCH_POSTGRES_DSN")
    return settings
