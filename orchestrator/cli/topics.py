"""``orchestrator topics``: the topic table, and the topics of a cluster."""

import os
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from orchestrator.cli.findings import print_findings
from orchestrator.cli.running import run
from orchestrator.cli.topics_adopt import adopt_topic
from orchestrator.layout import topic_table
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings, load_settings
from schemas.errors import SettingsError
from schemas.findings import fatal
from schemas.topic_rules import (
    TopicFacts,
    config_differences,
    partition_findings,
    topic_findings,
)
from schemas.topics import Topic
from streams.errors import TopicsDifferError
from streams.kafka.admin import Admin
from streams.schema_registry import register_schemas

app = typer.Typer(help="The topics of the system.", no_args_is_help=True)
app.command("adopt")(adopt_topic)


@app.command("list")
def list_topics() -> None:
    """Show every topic: who writes and reads it, and how it is kept.

    Where ORCH_KAFKA_BOOTSTRAP is set, the partitions that exist are shown beside the table's.
    """
    settings = load_settings(os.environ)
    table = topic_table(settings, installed_pipelines(settings.pipelines))
    facts = run(_facts(settings, table)) if settings.kafka.bootstrap else None
    exist = [] if facts is None else ["exist"]
    rows = Table("topic", "record", "written by", "read by", "partitions", *exist, "kept")
    for topic in table:
        rows.add_row(
            topic.name,
            topic.record.__name__ if topic.record else "as its origin",
            topic.written_by,
            topic.read_by,
            str(topic.partitions),
            *([] if facts is None else [_existing(facts.get(topic.name))]),
            "newest of each key" if topic.retention_ms is None else _days(topic.retention_ms),
        )
    Console().print(rows)


@app.command("apply")
def apply_topics(
    fix: Annotated[
        bool, typer.Option("--fix", help="Also set what differs in the topics' configuration.")
    ] = False,
) -> None:
    """Create the topics that are missing, and register their schemas where a registry is set.

    Prints how the others differ from the table; changes nothing that exists without --fix. Exit 1
    if a difference is fatal: no process starts with it.
    """
    settings = load_settings(os.environ)
    if not settings.kafka.bootstrap:
        raise SettingsError("ORCH_KAFKA_BOOTSTRAP is not set")
    if run(_apply(settings, fix=fix)):
        raise typer.Exit(1)


async def _apply(settings: Settings, *, fix: bool) -> bool:
    """Whether a fatal difference is left."""
    table = topic_table(settings, installed_pipelines(settings.pipelines))
    names = [topic.name for topic in table]
    async with Admin(settings.kafka) as admin:
        facts = await admin.facts(names)
        unusable = fatal(partition_findings(table, facts, settings.topics))
        if unusable:
            print_findings(unusable)
            raise TopicsDifferError("nothing was created: see what is fatal above")
        for name in await admin.apply(table, settings.topics):
            print(f"created {name}")
        if fix:
            differences = config_differences(table, facts)
            await admin.alter(differences)
            for one in differences:
                print(f"set {one.name} of {one.topic} to {one.wanted}")
        findings = topic_findings(table, await admin.facts(names), settings.topics)
    registered = await register_schemas(settings.schemas, table)
    if registered:
        print(f"{registered} subjects registered")
    print_findings(findings)
    print(f"{len(set(names) - facts.keys())} created")
    return bool(fatal(findings))


async def _facts(settings: Settings, table: Sequence[Topic]) -> dict[str, TopicFacts]:
    async with Admin(settings.kafka) as admin:
        return await admin.facts([topic.name for topic in table])


def _existing(facts: TopicFacts | None) -> str:
    if facts is None:
        return "no"
    return "not known" if facts.partitions is None else str(facts.partitions)


def _days(milliseconds: int) -> str:
    hours = milliseconds / 3_600_000
    return f"{hours:.0f} h" if hours < 24 else f"{hours / 24:.0f} d"
