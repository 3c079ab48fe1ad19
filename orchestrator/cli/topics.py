"""``orchestrator topics``: the topic table, and the topics of a cluster."""

import asyncio
import os

import typer
from rich.console import Console
from rich.table import Table

from orchestrator.cli.topics_adopt import adopt_topic
from orchestrator.layout import topic_table
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings, load_settings
from schemas.errors import SettingsError
from streams.admin import Admin
from streams.schema_registry import register_schemas

app = typer.Typer(help="The topics of the system.", no_args_is_help=True)
app.command("adopt")(adopt_topic)


@app.command("list")
def list_topics() -> None:
    """Show every topic: who writes and reads it, and how it is kept. Asks no broker."""
    rows = Table("topic", "record", "written by", "read by", "partitions", "kept")
    settings = load_settings(os.environ)
    for topic in topic_table(settings, installed_pipelines(settings.pipelines)):
        rows.add_row(
            topic.name,
            topic.record.__name__ if topic.record else "as its origin",
            topic.written_by,
            topic.read_by,
            str(topic.partitions),
            "newest of each key" if topic.retention_ms is None else _days(topic.retention_ms),
        )
    Console().print(rows)


@app.command("apply")
def apply_topics() -> None:
    """Create the topics that are missing, and register their schemas where a registry is set.

    Changes nothing that exists.
    """
    settings = load_settings(os.environ)
    if not settings.kafka.bootstrap:
        raise SettingsError("ORCH_KAFKA_BOOTSTRAP is not set")
    created = asyncio.run(_apply(settings))
    for name in created:
        print(f"created {name}")
    print(f"{len(created)} created")


async def _apply(settings: Settings) -> list[str]:
    table = topic_table(settings, installed_pipelines(settings.pipelines))
    async with Admin(settings.kafka) as admin:
        created = await admin.apply(table)
    registered = await register_schemas(settings.schemas, table)
    if registered:
        print(f"{registered} subjects registered")
    return created


def _days(milliseconds: int) -> str:
    hours = milliseconds / 3_600_000
    return f"{hours:.0f} h" if hours < 24 else f"{hours / 24:.0f} d"
