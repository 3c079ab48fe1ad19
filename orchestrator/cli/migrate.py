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

    `-o json` prints one object: applied, and newer (applied before by a newer program), the names
    of migrations.
    """
    dsn = _dsn()
    applied = run(migrate_up(dsn, before_deployment=phase is MigrationPhase.PRE))
    if analysts:
        run(grant_analysts(dsn, analysts))
    newer = [one.name for one in run(migrate_status(dsn)) if not one.known]
    if output is Output.JSON:
        print_json({"applied": list(applied), "newer": newer})
        return
    for name in applied:
        print_line(f"applied {name}")
    print_line(f"{len(applied)} applied")
    for name in newer:
        print_line(f"newer than this program: {name}")


@app.command()
def status(output: OutputOption = Output.TABLE) -> None:
    """Show each migration and whether it is applied.

    `changed`: it was applied with another content than its file has, and `migrate up` refuses to
    go on. `newer`: this program does not have it.

    `-o json` prints one object a line: name, applied_at, which is null if it is pending, and state.
    """
    found = [(m.state, m.name, iso(m.applied_at)) for m in run(migrate_status(_dsn()))]
    if output is Output.JSON:
        for state, name, applied_at in found:
            print_json({"name": name, "applied_at": applied_at, "state": state})
        return
    print_table(("status", "migration", "applied at"), found, output=output)


def _dsn() -> str:
    return postgres_settings().postgres.dsn
