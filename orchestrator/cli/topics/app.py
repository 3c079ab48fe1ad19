"""``orchestrator topics``: the topic table, and the topics of a cluster."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from orchestrator.cli.findings import print_findings
from orchestrator.cli.output import print_line
from orchestrator.cli.running import kafka_settings, run
from orchestrator.cli.topics.acls import print_acls
from orchestrator.cli.topics.adopt import adopt_topic
from orchestrator.cli.topics.list import list_topics
from orchestrator.cli.topics.plan_growth import plan_growth
from orchestrator.layout import topic_table
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings
from schemas.findings import fatal
from schemas.topic_rules import TopicFacts, config_differences, partition_findings, topic_findings
from streams.errors import TopicsDifferError
from streams.kafka.admin import Admin
from streams.schema_registry import register_schemas

_LEARNT_AFTER_S = 10.0
_LOOK_AGAIN_S = 0.2

app = typer.Typer(help="The topics of the system.", no_args_is_help=True)
app.command("list")(list_topics)
app.command("adopt")(adopt_topic)
app.command("acls")(print_acls)
app.command("plan-growth")(plan_growth)


@app.command("apply")
def apply_topics(
    fix: Annotated[
        bool, typer.Option("--fix", help="Also set what differs in the topics' configuration.")
    ] = False,
) -> None:
    """Create the topics that are missing, and register their schemas where a registry is set.

    Each partition has ORCH_TOPICS_REPLICATION_FACTOR copies, or without that setting as many as
    the cluster has brokers, at most 3. Prints how the others differ from the table; changes
    nothing that exists without --fix. Exit 1 if a difference is fatal: no process starts with it.
    """
    if run(_apply(kafka_settings(), fix=fix)):
        raise typer.Exit(1)


async def _apply(settings: Settings, *, fix: bool) -> bool:
    """Whether a fatal difference is left."""
    async with Admin(settings.kafka) as admin:
        topics = await admin.on_cluster(settings.topics)
        table = topic_table(settings, installed_pipelines(settings.pipelines), topics)
        names = [topic.name for topic in table]
        facts = await admin.facts(names)
        unusable = fatal(partition_findings(table, facts, topics))
        if unusable:
            print_findings(unusable)
            raise TopicsDifferError("nothing was created: see what is fatal above")
        for name in await admin.apply(table, topics):
            print_line(f"created {name}")
        if fix:
            differences = config_differences(table, facts)
            await admin.alter(differences)
            for one in differences:
                print_line(f"set {one.name} of {one.topic} to {one.wanted}")
        findings = topic_findings(table, await _facts_of_all(admin, names), topics)
    registered = await register_schemas(settings.schemas, table)
    if registered:
        print_line(f"{registered} subjects registered")
    print_findings(findings)
    print_line(f"{len(set(names) - facts.keys())} created")
    return bool(fatal(findings))


async def _facts_of_all(admin: Admin, names: Sequence[str]) -> Mapping[str, TopicFacts]:
    """The facts of the topics once the broker that answers knows all of them, or after 10 s.

    A broker learns of a new topic a moment after the controller has made it.
    """
    until_s = time.monotonic() + _LEARNT_AFTER_S
    while True:
        facts = await admin.facts(names)
        if facts.keys() >= set(names) or time.monotonic() > until_s:
            return facts
        await asyncio.sleep(_LOOK_AGAIN_S)
