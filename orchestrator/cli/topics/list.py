"""``orchestrator topics list``: each topic as it should be, and as it is."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.cli.environment import command_settings, not_set
from orchestrator.cli.output import Output, OutputOption, print_json, print_note, print_table
from orchestrator.cli.running import run
from orchestrator.layout import topic_table
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings
from schemas.topic_rules import ConfigDifference, TopicFacts, config_differences
from schemas.topics import Topic
from streams.kafka.admin import Admin

_COLUMNS = (
    "topic",
    "partitions",
    "copies",
    "kept",
    "config",
    "record",
    "written by",
    "read by",
)
_DROP = ("read by", "written by", "record", "kept", "config")

_MISSING = TopicFacts(partitions=None, replication_factor=None, config=None)

Facts = Mapping[str, TopicFacts] | None
"""The topics of the cluster; None: the cluster was not asked."""


def list_topics(output: OutputOption = Output.TABLE) -> None:
    """Show every topic: who writes and reads it, how it is kept, and what differs in Kafka.

    Where Kafka's address is known, a number that differs is shown as "4, not 12"; "missing" is a
    topic that `orchestrator topics apply` creates. Values of the configuration that must be
    other ones are counted, and on a terminal named on standard error; without an address standard
    error says that Kafka was not asked.

    `-o json` prints one object a line: name, record (null: the bytes of its origin), written_by,
    read_by, retention_ms (null: the newest value of each key is kept), exists (null: Kafka was
    not asked), partitions and copies (wanted, found), and config (name, found, wanted) with what
    differs. Names stay; new ones may come.

    Exit status: 0 shown, 1 Kafka does not answer, 2 an argument is wrong.
    """
    table, facts = run(_asked(command_settings()))
    differing = _differing(table, facts)
    if output is Output.JSON:
        for topic in table:
            print_json(_document(topic, facts, differing[topic.name]))
        return
    rows = [_row(topic, facts, differing[topic.name]) for topic in table]
    print_table(_COLUMNS, rows, output=output, drop=_DROP)
    for one in (one for found in differing.values() for one in found):
        sentence = f"{one.topic}: {one.name} is {one.found}, must be {one.wanted}"
        print_note(sentence)
    if facts is None:
        print_note(f"Kafka was not asked: {not_set('ORCH_KAFKA_BOOTSTRAP')}")


async def _asked(settings: Settings) -> tuple[list[Topic], Facts]:
    """The table for this cluster, and the topics that the cluster has."""
    pipelines = installed_pipelines(settings.pipelines)
    if not settings.kafka.bootstrap:
        return topic_table(settings, pipelines), None
    async with Admin(settings.kafka) as admin:
        topics = await admin.on_cluster(settings.topics)
        table = topic_table(settings, pipelines, topics)
        return table, await admin.facts([topic.name for topic in table])


def _differing(table: Sequence[Topic], facts: Facts) -> Mapping[str, list[ConfigDifference]]:
    found: dict[str, list[ConfigDifference]] = defaultdict(list)
    for one in config_differences(table, facts or {}):
        found[one.topic].append(one)
    return found


def _row(topic: Topic, facts: Facts, differing: Sequence[ConfigDifference]) -> tuple[object, ...]:
    partitions, copies = str(topic.partitions), str(topic.replication_factor)
    if facts is not None:
        found = facts.get(topic.name, _MISSING)
        partitions = _beside(topic.partitions, found.partitions)
        copies = _beside(topic.replication_factor, found.replication_factor)
        if found is _MISSING:
            partitions, copies = "missing", "missing"
    return (
        topic.name,
        partitions,
        copies,
        "compacted" if topic.retention_ms is None else _days(topic.retention_ms),
        f"{len(differing)} differ" if differing else None,
        topic.record.__name__ if topic.record else "as its origin",
        topic.written_by,
        topic.read_by,
    )


def _beside(wanted: int, found: int | None) -> str:
    if found is None:
        return "not known"
    return str(found) if found == wanted else f"{found}, not {wanted}"


def _document(topic: Topic, facts: Facts, differing: Sequence[ConfigDifference]) -> dict[str, Any]:
    found = (facts or {}).get(topic.name, _MISSING)
    return {
        "name": topic.name,
        "record": topic.record.__name__ if topic.record else None,
        "written_by": topic.written_by,
        "read_by": topic.read_by,
        "retention_ms": topic.retention_ms,
        "exists": None if facts is None else found is not _MISSING,
        "partitions": {"wanted": topic.partitions, "found": found.partitions},
        "copies": {
            "wanted": topic.replication_factor,
            "found": found.replication_factor,
        },
        "config": [
            {"name": one.name, "found": one.found, "wanted": one.wanted} for one in differing
        ],
    }


def _days(milliseconds: int) -> str:
    hours = milliseconds / 3_600_000
    return f"{hours:.0f} h" if hours < 24 else f"{hours / 24:.0f} d"
