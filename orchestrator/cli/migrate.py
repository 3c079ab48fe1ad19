"""``orchestrator migrate``: the schema of the projection."""

import asyncio

import typer

from orchestrator.cli.environment import command_settings
from schemas.errors import SettingsError
from sinks.migrate import migrate_status, migrate_up

app = typer.Typer(help="The schema of the projection in Postgres.", no_args_is_help=True)


@app.command()
def up() -> None:
    """Apply the migrations that are missing. Safe to run from several machines at once."""
    applied = asyncio.run(migrate_up(_dsn()))
    for name in applied:
        print(f"applied {name}")
    print(f"{len(applied)} applied")


@app.command()
def status() -> None:
    """Show each migration and whether it is applied."""
    for migration in asyncio.run(migrate_status(_dsn())):
        print(f"{'applied' if migration.applied_at else 'pending'}  {migration.name}")


def _dsn() -> str:
    dsn = command_settings().postgres.dsn
    if not dsn:
        raise SettingsError("ORCH_POSTGRES_DSN is not set")
    return dsn
