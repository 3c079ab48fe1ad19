"""``orchestrator migrate``: the schema of the projection."""

from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.cli.output import Output, OutputOption, print_json, print_line, print_table
from orchestrator.cli.running import postgres_settings, run
from orchestrator.cli.times import iso
from sinks.schema.migrate import grant_analysts, migrate_status, migrate_up

app = typer.Typer(help="The schema of the projection in Postgres.", no_args_is_help=True)


class MigrationPhase(StrEnum):
    """When in an upgrade migrations run."""

    PRE = "pre"
    POST = "post"
    ALL = "all"


@app.command()
def up(
    phase: Annotated[
        MigrationPhase,
        typer.Option(
            "--phase",
            help="pre: before the new version is deployed, what the version before can run with; "
            "post: afterwards, the rest; all: both, for a system that does not run.",
        ),
    ] = MigrationPhase.ALL,
    analysts: Annotated[
        str,
        typer.Option(
            "--analysts",
            metavar="ROLE",
            help="Also let this role read the tables for analysts; it is created without a login "
            "if it does not exist.",
        ),
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Apply the migrations that are missing. Safe to run from several machines at once.

    `-o json` prints one object: applied, the names of the migrations.
    """
    dsn = _dsn()
    applied = run(migrate_up(dsn, before_deployment=phase is MigrationPhase.PRE))
    if analysts:
        run(grant_analysts(dsn, analysts))
    if output is Output.JSON:
        print_json({"applied": list(applied)})
        return
    for name in applied:
        print_line(f"applied {name}")
    print_line(f"{len(applied)} applied")


@app.command()
def status(output: OutputOption = Output.TABLE) -> None:
    """Show each migration and whether it is applied.

    `-o json` prints one object a line: name and applied_at, which is null if it is pending.
    """
    found = [(m.name, iso(m.applied_at)) for m in run(migrate_status(_dsn()))]
    if output is Output.JSON:
        for name, applied_at in found:
            print_json({"name": name, "applied_at": applied_at})
        return
    rows = [("applied" if at else "pending", name, at) for name, at in found]
    print_table(("status", "migration", "applied at"), rows, output=output)


def _dsn() -> str:
    return postgres_settings().postgres.dsn
