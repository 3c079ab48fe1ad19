"""Compares the topics of a cluster with the table. Pure.

A difference is fatal only if it endangers data: co-partitioned topics with different numbers of
partitions, a policy that removes records which are still needed, limits that refuse our own
records. Larger retention, larger records, more copies and any compression are not differences.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from schemas.findings import Finding, Severity
from schemas.records import Control, StreamChunk, TaskEvent, TaskState
from schemas.topics import DLQ_PREFIX, Topic, TopicsSettings

LOG_WINDOW_MS = 24 * 3_600_000
"""The least that ``task-events`` must hold: a router that takes over reads it from the last
checkpoint, and the sink from its position, so this is how long they may be down. A completed
task is remembered for the same time (``ORCH_ROUTER_REMEMBER_S``)."""
LOG_BYTES_MIN = 5_000 * 256 * 1024
"""Bytes of a partition of ``task-events``: the events between two checkpoints
(``ORCH_ROUTER_SNAPSHOT_EVENTS``), each with the largest output of a step."""
TOMBSTONES_KEPT_MS = 24 * 3_600_000
"""Kafka's default: for so long a reader of a compacted topic may be under way."""
TOMBSTONES_READ_MS = 3_600_000
"""The least of it: no takeover takes an hour."""
_NAMED_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFacts:
    """A topic that exists. A field is None if the account may not read it."""

    partitions: int | None
    replication_factor: int | None
    config: Mapping[str, str] | None
    """The effective values, whether they were set for the topic or are the broker's."""


@dataclass(frozen=True, slots=True)
class ConfigDifference:
    """A configuration value of a topic that has to be changed."""

    topic: str
    name: str
    found: str
    wanted: str
    severity: Severity
    breaks: str


def topic_findings(
    table: Sequence[Topic], facts: Mapping[str, TopicFacts], settings: TopicsSettings
) -> list[Finding]:
    """Every difference, the fatal ones first; empty if the topics match the table."""
    found = [
        *_missing(table, facts),
        *partition_findings(table, facts, settings),
        *_replication_findings(table, facts),
        *_config_findings(config_differences(table, facts)),
        *_unknown(table, facts),
    ]
    order = (Severity.FATAL, Severity.WARNING, Severity.INFO)
    return sorted(found, key=lambda finding: order.index(finding.severity))


def config_differences(
    table: Sequence[Topic], facts: Mapping[str, TopicFacts]
) -> list[ConfigDifference]:
    """The differences of configuration, which can be altered in place."""
    return [
        difference
        for topic in table
        if topic.name in facts and facts[topic.name].config is not None
        for rule in _RULES
        if (difference := rule(topic, facts[topic.name])) is not None
    ]


def partition_findings(
    table: Sequence[Topic], facts: Mapping[str, TopicFacts], settings: TopicsSettings
) -> list[Finding]:
    """Differences in the numbers of partitions. Only co-partitioned topics must match exactly."""
    counts = {name: fact.partitions for name, fact in facts.items() if fact.partitions is not None}
    known = [topic for topic in table if topic.name in counts]
    fixed = [topic for topic in known if topic.copartitioned]
    numbers = {counts[topic.name] for topic in fixed}
    if len(numbers) == 1 and numbers != {settings.partitions}:
        [number] = numbers
        return [_other_setting(len(fixed), number, settings)]
    return [
        finding for topic in known if (finding := _partition_finding(topic, counts[topic.name]))
    ]


def _missing(table: Sequence[Topic], facts: Mapping[str, TopicFacts]) -> Iterator[Finding]:
    names = [topic.name for topic in table if topic.name not in facts]
    if names:
        yield Finding(
            severity=Severity.FATAL,
            about=_named(names),
            what=_plural(len(names), "topic is missing", "topics are missing"),
            breaks="whoever reads or writes them",
            fix="orchestrator topics apply",
        )


def _unknown(table: Sequence[Topic], facts: Mapping[str, TopicFacts]) -> Iterator[Finding]:
    for what, right, names in (
        (
            "partitions are not known: the account may not describe them",
            "DESCRIBE",
            [t.name for t in table if t.name in facts and facts[t.name].partitions is None],
        ),
        (
            "the configuration is not known: the account may not read it",
            "DESCRIBE_CONFIGS",
            [t.name for t in table if t.name in facts and facts[t.name].config is None],
        ),
    ):
        if names:
            yield Finding(
                severity=Severity.WARNING,
                about=_named(names),
                what=what,
                breaks="nothing by itself; differences stay unseen",
                fix=f"grant {right} on topics, or run `orchestrator doctor` as an administrator",
            )


def _other_setting(topics: int, number: int, settings: TopicsSettings) -> Finding:
    return Finding(
        severity=Severity.FATAL,
        about="ORCH_TOPICS_PARTITIONS",
        what=f"is {settings.partitions}; the {topics} co-partitioned topics have {number}",
        breaks="a task's owner is found by its key, modulo this number",
        fix=f"set ORCH_TOPICS_PARTITIONS={number} in every process",
    )


def _partition_finding(topic: Topic, number: int) -> Finding | None:
    if number == topic.partitions:
        return None
    what = f"has {_plural(number, 'partition', 'partitions')}, the table says {topic.partitions}"
    if number < topic.partitions:
        return Finding(
            severity=Severity.FATAL,
            about=topic.name,
            what=what,
            breaks="records for the missing partitions cannot be written",
            fix=_kafka("topics", f"--alter --topic {topic.name} --partitions {topic.partitions}"),
        )
    if topic.copartitioned:
        return Finding(
            severity=Severity.FATAL,
            about=topic.name,
            what=what,
            breaks="records that clients put there by their key have no owner",
            fix="partitions cannot be removed: drain the topic, delete it, and run "
            "`orchestrator topics apply`; or begin anew with another ORCH_TOPICS_PREFIX",
        )
    return Finding(
        severity=Severity.INFO,
        about=topic.name,
        what=what,
        breaks="nothing: our records go to the first ones, and readers read all",
    )


def _replication_findings(
    table: Sequence[Topic], facts: Mapping[str, TopicFacts]
) -> Iterator[Finding]:
    fewer: dict[tuple[int, int], list[str]] = defaultdict(list)
    for topic in table:
        copies = facts[topic.name].replication_factor if topic.name in facts else None
        if copies is not None and copies < topic.replication_factor:
            fewer[copies, topic.replication_factor].append(topic.name)
    for (copies, wanted), names in sorted(fewer.items()):
        yield Finding(
            severity=Severity.WARNING,
            about=_named(names),
            what=f"{_plural(copies, 'copy', 'copies')} of each partition, there should be {wanted}",
            breaks="acknowledged records are lost with fewer brokers than you think",
            fix=f"kafka-reassign-partitions.sh, or ORCH_TOPICS_REPLICATION_FACTOR={copies}",
        )


def _config_findings(differences: Sequence[ConfigDifference]) -> Iterator[Finding]:
    """One finding for each kind of difference, however many topics have it."""
    alike: dict[tuple[str, str, str, Severity, str], list[str]] = defaultdict(list)
    for one in differences:
        alike[one.name, one.found, one.wanted, one.severity, one.breaks].append(one.topic)
    for (name, found, wanted, severity, breaks), topics in alike.items():
        by_hand = _kafka(
            "configs",
            f"--alter --entity-type topics --entity-name {topics[0]} --add-config {name}={wanted}",
        )
        yield Finding(
            severity=severity,
            about=_named(topics),
            what=f"{name} is {found}, must be {wanted}",
            breaks=breaks,
            fix="orchestrator topics apply --fix" if len(topics) > 1 else by_hand,
        )


def _cleanup(topic: Topic, facts: TopicFacts) -> ConfigDifference | None:
    wanted = topic.config["cleanup.policy"]
    if wanted == "compact":
        breaks = "snapshots are deleted by their age: a router forgets tasks at its next start"
    else:
        breaks = "older records of a task are removed as soon as it has newer ones"
    return _unless(
        topic,
        facts,
        "cleanup.policy",
        wanted,
        lambda found: set(found.split(",")) == {wanted},
        Severity.WARNING if topic.record in (Control, StreamChunk) else Severity.FATAL,
        breaks,
    )


def _tombstones(topic: Topic, facts: TopicFacts) -> ConfigDifference | None:
    if topic.retention_ms is not None:
        return None
    return _unless(
        topic,
        facts,
        "delete.retention.ms",
        str(TOMBSTONES_KEPT_MS),
        lambda found: int(found) >= TOMBSTONES_READ_MS,
        Severity.WARNING,
        "a router that stands still while it reads snapshots meets a forgotten task again",
    )


def _retention(topic: Topic, facts: TopicFacts) -> ConfigDifference | None:
    wanted = topic.retention_ms
    if wanted is None:
        return None
    found = int((facts.config or {}).get("retention.ms", wanted))
    cuts_the_log = topic.record is TaskEvent and found < LOG_WINDOW_MS
    return _unless(
        topic,
        facts,
        "retention.ms",
        str(wanted),
        lambda value: int(value) < 0 or (0 <= wanted <= int(value)),
        Severity.FATAL if cuts_the_log else Severity.WARNING,
        "the log is cut before routers and the sink have read it"
        if cuts_the_log
        else "records that nobody read in this time are gone, and replays reach less far back",
    )


def _retention_bytes(topic: Topic, facts: TopicFacts) -> ConfigDifference | None:
    if topic.retention_ms is None or topic.record in (Control, StreamChunk):
        return None
    found = int((facts.config or {}).get("retention.bytes", -1))
    cuts_the_log = topic.record is TaskEvent and found < LOG_BYTES_MIN
    return _unless(
        topic,
        facts,
        "retention.bytes",
        "-1",
        lambda value: int(value) < 0,
        Severity.FATAL if cuts_the_log else Severity.WARNING,
        "the log is cut before routers and the sink have read it"
        if cuts_the_log
        else "a burst of records removes those that nobody has read yet",
    )


def _largest(topic: Topic, facts: TopicFacts) -> ConfigDifference | None:
    ours_alone = topic.record in (TaskEvent, TaskState) or topic.name.startswith(DLQ_PREFIX)
    return _unless(
        topic,
        facts,
        "max.message.bytes",
        str(topic.max_bytes),
        lambda value: int(value) >= topic.max_bytes,
        Severity.FATAL if ours_alone else Severity.WARNING,
        "the broker refuses records that our limits allow",
    )


def _insync(topic: Topic, facts: TopicFacts) -> ConfigDifference | None:
    copies = facts.replication_factor or topic.replication_factor
    wanted = min(int(topic.config.get("min.insync.replicas", "1")), copies)
    found = int((facts.config or {}).get("min.insync.replicas", wanted))
    return _unless(
        topic,
        facts,
        "min.insync.replicas",
        str(wanted),
        lambda value: wanted <= int(value) <= copies,
        Severity.FATAL if found > copies else Severity.WARNING,
        "no record can be written: there are fewer copies than must acknowledge"
        if found > copies
        else "a record that was acknowledged is lost with one broker",
    )


def _timestamps(topic: Topic, facts: TopicFacts) -> ConfigDifference | None:
    wanted = "LogAppendTime" if topic.broker_times else "CreateTime"
    return _unless(
        topic,
        facts,
        "message.timestamp.type",
        wanted,
        lambda value: value == wanted,
        Severity.WARNING,
        "a router with a wrong clock is not noticed"
        if topic.broker_times
        else "records have the broker's time instead of the time when they were made",
    )


def _unclean(topic: Topic, facts: TopicFacts) -> ConfigDifference | None:
    if topic.record in (Control, StreamChunk):
        return None
    return _unless(
        topic,
        facts,
        "unclean.leader.election.enable",
        "false",
        lambda value: value == "false",
        Severity.WARNING,
        "a broker that was behind may lead, and acknowledged records are lost",
    )


_RULES: tuple[Callable[[Topic, TopicFacts], ConfigDifference | None], ...] = (
    _cleanup,
    _tombstones,
    _retention,
    _retention_bytes,
    _largest,
    _insync,
    _timestamps,
    _unclean,
)


def _unless(
    topic: Topic,
    facts: TopicFacts,
    name: str,
    wanted: str,
    fits: Callable[[str], bool],
    severity: Severity,
    breaks: str,
) -> ConfigDifference | None:
    # A value that an older broker does not report is that broker's default.
    found = (facts.config or {}).get(name)
    if found is None or fits(found):
        return None
    return ConfigDifference(topic.name, name, found, wanted, severity, breaks)


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED_MAX])
    rest = len(names) - _NAMED_MAX
    return f"{shown} and {rest} more" if rest > 0 else shown


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _kafka(tool: str, arguments: str) -> str:
    return f"kafka-{tool}.sh --bootstrap-server $ORCH_KAFKA_BOOTSTRAP {arguments}"
