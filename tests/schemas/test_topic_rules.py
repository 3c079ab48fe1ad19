"""What differs between a cluster's topics and the table, what breaks with it, and the fix."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.findings import Finding, Severity, described, fatal
from schemas.records import StepName
from schemas.topic_rules import LOG_BYTES_MIN, LOG_WINDOW_MS, TopicFacts, topic_findings
from schemas.topics import Topics, TopicsSettings, dlq

SETTINGS = TopicsSettings(partitions=6)
TOPICS = Topics(SETTINGS)
TABLE = TOPICS.table([StepName("retrieve")])
BROKER = {
    "cleanup.policy": "delete",
    "retention.bytes": "-1",
    "message.timestamp.type": "CreateTime",
    "unclean.leader.election.enable": "false",
    "compression.type": "producer",
}


def as_the_table_says() -> dict[str, TopicFacts]:
    return {
        topic.name: TopicFacts(
            partitions=topic.partitions,
            replication_factor=topic.replication_factor,
            config={**BROKER, **topic.config},
        )
        for topic in TABLE
    }


def changed(topic: str, config: Mapping[str, str] | None = None, **facts: Any) -> list[Finding]:
    """The findings where one topic differs."""
    found = as_the_table_says()
    one = found[topic]
    found[topic] = replace(one, config={**(one.config or {}), **(config or {})}, **facts)
    return topic_findings(TABLE, found, SETTINGS)


def test_topics_that_are_as_the_table_says_have_no_findings() -> None:
    assert topic_findings(TABLE, as_the_table_says(), SETTINGS) == []


@pytest.mark.parametrize(
    ("topic", "name", "value", "severity"),
    [
        (TOPICS.task_state, "cleanup.policy", "delete", Severity.FATAL),
        (TOPICS.task_state, "cleanup.policy", "compact,delete", Severity.FATAL),
        (TOPICS.task_events, "cleanup.policy", "compact", Severity.FATAL),
        (TOPICS.task_commands, "cleanup.policy", "compact,delete", Severity.FATAL),
        (dlq(TOPICS.task_created), "cleanup.policy", "compact", Severity.FATAL),
        (TOPICS.stream, "cleanup.policy", "compact", Severity.WARNING),
        (TOPICS.task_state, "delete.retention.ms", "60000", Severity.WARNING),
        (TOPICS.task_events, "retention.ms", str(LOG_WINDOW_MS - 1), Severity.FATAL),
        (TOPICS.task_events, "retention.ms", str(LOG_WINDOW_MS), Severity.WARNING),
        (TOPICS.task_events, "retention.bytes", "1000000", Severity.FATAL),
        (TOPICS.task_events, "retention.bytes", str(LOG_BYTES_MIN), Severity.WARNING),
        (TOPICS.task_created, "retention.ms", "1", Severity.WARNING),
        (TOPICS.task_created, "retention.bytes", "1", Severity.WARNING),
        (TOPICS.task_events, "max.message.bytes", "1000012", Severity.FATAL),
        (dlq(TOPICS.step_results), "max.message.bytes", "1000012", Severity.FATAL),
        (TOPICS.task_created, "max.message.bytes", "1000", Severity.WARNING),
        (TOPICS.task_events, "min.insync.replicas", "1", Severity.WARNING),
        (TOPICS.task_events, "min.insync.replicas", "4", Severity.FATAL),
        (TOPICS.task_created, "message.timestamp.type", "LogAppendTime", Severity.WARNING),
        (TOPICS.task_state, "unclean.leader.election.enable", "true", Severity.WARNING),
    ],
)
def test_a_value_that_harms_is_named_with_what_breaks_and_the_command(
    topic: str, name: str, value: str, severity: Severity
) -> None:
    [finding] = changed(topic, {name: value})

    assert (finding.severity, finding.about) == (severity, topic)
    assert finding.what.startswith(f"{name} is {value}, must be ")
    assert finding.breaks
    assert "kafka-configs.sh --bootstrap-server $ORCH_KAFKA_BOOTSTRAP --alter" in finding.fix
    assert f"--entity-name {topic} --add-config {name}=" in finding.fix


@pytest.mark.parametrize(
    ("topic", "name", "value"),
    [
        (TOPICS.task_events, "retention.ms", "-1"),
        (TOPICS.task_events, "retention.ms", str(400 * 24 * 3_600_000)),
        (TOPICS.task_events, "compression.type", "lz4"),
        (TOPICS.task_events, "max.message.bytes", "100000000"),
        (TOPICS.task_events, "min.insync.replicas", "3"),
        (TOPICS.stream, "retention.bytes", "1000"),
        (TOPICS.task_state, "retention.ms", "1"),
    ],
)
def test_a_value_that_harms_nobody_is_no_difference(topic: str, name: str, value: str) -> None:
    assert changed(topic, {name: value}) == []


def test_more_copies_are_no_difference_and_fewer_are_a_warning() -> None:
    assert changed(TOPICS.task_events, replication_factor=5) == []
    fewer = changed(TOPICS.task_events, {"min.insync.replicas": "1"}, replication_factor=1)

    assert [finding.severity for finding in fewer] == [Severity.WARNING]
    assert "ORCH_TOPICS_REPLICATION_FACTOR" in described(fewer[0])


@pytest.mark.parametrize("number", [5, 7])
def test_another_number_of_partitions_of_a_co_partitioned_topic_is_fatal(number: int) -> None:
    for topic in (TOPICS.task_created, TOPICS.task_state, *TOPICS.lanes(StepName("retrieve"))):
        [finding] = changed(topic, partitions=number)

        assert (finding.severity, finding.about) == (Severity.FATAL, topic)
        assert finding.fix


@pytest.mark.parametrize(
    "topic", [TOPICS.stream, TOPICS.control, TOPICS.dlq_actions, dlq(TOPICS.task_events)]
)
def test_an_added_partition_of_another_topic_stops_nobody(topic: str) -> None:
    [finding] = changed(topic, partitions=13)

    assert (finding.severity, finding.about) == (Severity.INFO, topic)


def test_a_dead_letter_topic_with_too_few_partitions_is_fatal_with_the_command() -> None:
    topic = dlq(TOPICS.task_created)
    [finding] = changed(topic, partitions=5)

    assert finding.severity is Severity.FATAL
    assert finding.fix.endswith(
        f"kafka-topics.sh --bootstrap-server $ORCH_KAFKA_BOOTSTRAP "
        f"--alter --topic {topic} --partitions 6"
    )


def test_a_cluster_that_was_made_with_another_setting_is_one_finding_that_names_it() -> None:
    found = {
        name: replace(facts, partitions=4 if facts.partitions == 6 else facts.partitions)
        for name, facts in as_the_table_says().items()
    }
    [finding] = topic_findings(TABLE, found, SETTINGS)

    assert finding.severity is Severity.FATAL
    assert finding.about == "ORCH_TOPICS_PARTITIONS"
    assert finding.fix.startswith("set ORCH_TOPICS_PARTITIONS=4")
    assert len(described(finding)) < 200


def test_a_difference_of_many_topics_is_one_finding() -> None:
    found = {
        name: replace(facts, config={**(facts.config or {}), "retention.bytes": "1073741824000"})
        for name, facts in as_the_table_says().items()
    }
    [finding] = topic_findings(TABLE, found, SETTINGS)

    assert "more" in finding.about
    assert finding.fix == "orchestrator topics apply --fix"


def test_topics_that_are_missing_are_fatal_with_the_command() -> None:
    found = as_the_table_says()
    del found[TOPICS.task_state]
    [finding] = topic_findings(TABLE, found, SETTINGS)

    assert (finding.severity, finding.about) == (Severity.FATAL, TOPICS.task_state)
    assert finding.fix == "orchestrator topics apply"


@pytest.mark.parametrize("denied", [{"config": None}, {"partitions": None}])
def test_what_the_account_may_not_read_is_not_known_and_stops_nobody(
    denied: dict[str, None],
) -> None:
    found = {name: replace(facts, **denied) for name, facts in as_the_table_says().items()}
    [finding] = topic_findings(TABLE, found, SETTINGS)

    assert finding.severity is Severity.WARNING
    assert "not known" in finding.what


def test_a_value_that_an_older_broker_does_not_tell_is_no_difference() -> None:
    found = {name: replace(facts, config={}) for name, facts in as_the_table_says().items()}

    assert topic_findings(TABLE, found, SETTINGS) == []


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "cleanup.policy": st.sampled_from(["delete", "compact", "compact,delete"]),
            "retention.ms": st.integers(-1, 2**62).map(str),
            "retention.bytes": st.integers(-1, 2**62).map(str),
            "delete.retention.ms": st.integers(0, 2**62).map(str),
            "max.message.bytes": st.integers(0, 2**31 - 1).map(str),
            "min.insync.replicas": st.integers(1, 5).map(str),
        },
    ),
    st.sampled_from([topic.name for topic in TABLE]),
)
def test_what_the_fix_sets_is_no_difference_any_more(config: dict[str, str], topic: str) -> None:
    findings = changed(topic, config)
    fixed = dict(config)
    for finding in findings:
        assert finding.breaks
        name, value = finding.fix.rsplit(" ", 1)[1].split("=", 1)
        fixed[name] = value

    assert changed(topic, fixed) == []
    assert fatal(findings) == findings[: len(fatal(findings))]
