"""``orchestrator migrate``: the schema of the projection."""

import typer

from orchestrator.cli.output import Output, OutputOption, print_json, print_line, print_table
from orchestrator.cli.running import postgres_settings, run
from orchestrator.cli.times import iso
from sinks.schema.migrate import migrate_status, migrate_up

app = typer.Typer(help="The schema of the projection in Postgres.", no_args_is_help=True)


@app.command()
def up(output: OutputOption = Output.TABLE) -> None:
    """Apply the migrations that are missing. Safe to run from several machines at once.

    `-o json` prints one object: applied, the names of the migrations.
    """
    applied = run(migrate_up(_dsn()))
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
