"""``orchestrator sink``: the projection in Postgres, made again, checked, and cut."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

import typer

from agents.rebuild import RebuildParts
from agents.rebuild import rebuild as rebuild_projection
from agents.rebuild import verify as verify_projection
from orchestrator.cli.environment import command_settings
from orchestrator.observability import set_up_logs
from orchestrator.schema_ids import use_schema_ids
from orchestrator.settings import Settings
from schemas.errors import SettingsError
from schemas.topics import Topics
from sinks.missing import Missing
from sinks.retention import drop_months

app = typer.Typer(help="The projection in Postgres.", no_args_is_help=True)

T = TypeVar("T")

_AGE = re.compile(r"([1-9][0-9]{0,4})d")


@app.command()
def rebuild() -> None:
    """Make the rows of all tasks whose log is still there what the log says.

    The sink and all readers go on meanwhile. Rows of older tasks stay. Also makes the schema. Exit
    1 if the log no longer holds something that has no row: it is named.
    """
    swapped = asyncio.run(_with_schemas(rebuild_projection))
    print(f"{swapped.tasks} tasks rebuilt")
    for table, rows in swapped.changed.items():
        print(f"{rows} rows written to {table}")
    if swapped.missing:
        _tell_missing(swapped.missing)
        raise typer.Exit(1)


@app.command()
def verify() -> None:
    """Compare the rows with the fold of the log. Exit 1, with a list, if they differ or lack any.

    The hash is of all rows that were compared, without identities and write times.
    """
    found = asyncio.run(_with_schemas(verify_projection))
    print(f"{found.tasks} tasks compared, {found.rows} rows; {found.older} older rows left out")
    print(f"hash {found.hash}")
    for difference in found.listed:
        print(
            f"{difference.what}: {difference.kind} {difference.place} of {difference.task_id}",
        )
    if found.differences:
        print(f"{found.differences} differences")
    if found.missing:
        _tell_missing(found.missing)
    if found.differences or found.missing:
        raise typer.Exit(1)
    print("rows and log agree")


@app.command()
def retention(
    older_than: Annotated[
        str, typer.Option(help="Days, as in 400d: months that ended before that are dropped.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be dropped.")] = False,
) -> None:
    """Drop months of tasks and of the trail. One that holds a task that has not ended is kept."""
    matched = _AGE.fullmatch(older_than)
    if not matched:
        raise SettingsError(f"--older-than is {older_than!r}; it must be days, as in 400d")
    before = datetime.now(UTC) - timedelta(days=int(matched[1]))
    settings = _settings()
    for month in asyncio.run(drop_months(settings.postgres, before, dry_run=dry_run)):
        if month.unfinished:
            print(f"kept {month.name}: {month.unfinished} tasks have not ended")
        else:
            print(f"{'would drop' if dry_run else 'dropped'} {month.name}")


def _tell_missing(missing: Missing) -> None:
    for gap in missing.gaps:
        print(
            f"missing: offsets {gap.first_offset} to {gap.end_offset - 1} of task-events"
            f"[{gap.partition}] ({gap.offsets}) left the log before the sink wrote them"
        )
    if missing.tasks:
        print(f"missing: {missing.tasks} tasks have no row, and the log cannot give it back:")
        more = missing.tasks - len(missing.named)
        print(f"  {' '.join(missing.named)}{f' and {more} more' if more else ''}")
        print("  orchestrator dlq list --topic task-events shows those that were refused")


async def _with_schemas(work: Callable[[RebuildParts], Awaitable[T]]) -> T:
    settings = _settings()
    if not settings.kafka.bootstrap:
        raise SettingsError("ORCH_KAFKA_BOOTSTRAP is not set")
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
    set_up_logs(settings.log, role="sink-tool")
    if not settings.postgres.dsn:
        raise SettingsError("ORCH_POSTGRES_DSN is not set")
    return settings
