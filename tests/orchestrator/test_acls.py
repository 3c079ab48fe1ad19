"""The table of rights: about resources that exist, complete for each reader, and compared right."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.acls import (
    PEOPLE,
    SERVE,
    AclOperation,
    AclRule,
    Resource,
    acls_of,
    merged,
    missing_acls,
)
from orchestrator.layout import DLQ_INDEX, ROUTER, SINK, STEP_PREFIX, consumer_groups, topic_table
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings
from schemas.topics import DLQ_PREFIX, Topics, TopicsSettings, dlq

SETTINGS = Settings()
PIPELINES = installed_pipelines(SETTINGS.pipelines)
TOPICS = Topics(SETTINGS.topics)
NAMES = [topic.name for topic in topic_table(SETTINGS, PIPELINES)]
STEPS = [STEP_PREFIX + step for step in PIPELINES.step_names]
PROCESSES = [ROUTER, SINK, DLQ_INDEX, SERVE, *STEPS]
EVERYONE = [*PROCESSES, *PEOPLE]
EVERYTHING = frozenset(AclOperation)


def may(role: str, operation: AclOperation, topic: str) -> bool:
    return any(
        right.resource is Resource.TOPIC and right.covers(topic) and operation in right.operations
        for right in acls_of(role, TOPICS)
    )


def test_every_rule_is_about_a_topic_or_a_group_that_exists() -> None:
    groups = consumer_groups(SETTINGS, PIPELINES)
    for role in EVERYONE:
        for right in acls_of(role, TOPICS):
            known = NAMES if right.resource is Resource.TOPIC else groups
            assert any(map(right.covers, known)), (role, right)


def test_every_consumer_reads_its_topics_and_writes_their_dead_letters() -> None:
    prefix = SETTINGS.topics.prefix
    for group, topics in consumer_groups(SETTINGS, PIPELINES).items():
        role = group.removeprefix(prefix)
        for topic in topics:
            assert may(role, AclOperation.READ, topic), (role, topic)
            if not topic.startswith(DLQ_PREFIX):
                assert may(role, AclOperation.WRITE, dlq(topic)), (role, topic)


def test_only_routers_write_the_log() -> None:
    writers = {role for role in EVERYONE if may(role, AclOperation.WRITE, TOPICS.task_events)}
    assert writers == {ROUTER}


def test_only_routers_and_operators_write_snapshots() -> None:
    writers = {role for role in EVERYONE if may(role, AclOperation.WRITE, TOPICS.task_state)}
    assert writers == {ROUTER, "operator"}


def test_a_step_worker_reaches_no_other_step() -> None:
    for role in STEPS:
        own = TOPICS.settings.prefix + "steps." + role.removeprefix(STEP_PREFIX) + "."
        for name in NAMES:
            if ".steps." in name and own not in name:
                assert not may(role, AclOperation.READ, name), (role, name)
                assert not may(role, AclOperation.WRITE, name), (role, name)


def test_a_rule_covers_the_names_of_one_system_only() -> None:
    blue = Topics(TopicsSettings(prefix="blue."))
    for role in EVERYONE:
        for right in acls_of(role, blue):
            assert not any(map(right.covers, NAMES)), (role, right)


@given(st.sampled_from(EVERYONE), st.data())
def test_exactly_what_is_missing_is_named(role: str, data: st.DataObject) -> None:
    rights = [r for r in acls_of(role, TOPICS) if r.resource is Resource.TOPIC]
    right = data.draw(st.sampled_from(rights))
    operation = data.draw(st.sampled_from(right.operations))
    on_topics = {
        name: EVERYTHING - {operation} if right.covers(name) else EVERYTHING for name in NAMES
    }
    missing = missing_acls([right], on_topics, {})
    star = "*" if right.prefixed else ""
    named = [f"{operation} on the topic {right.name}{star}"]
    assert missing == ([] if operation is AclOperation.DESCRIBE_CONFIGS else named)


@given(st.sampled_from(EVERYONE))
def test_nothing_is_missing_where_the_broker_allows_everything_or_does_not_say(role: str) -> None:
    rights = acls_of(role, TOPICS)
    groups = consumer_groups(SETTINGS, PIPELINES)
    for said in (EVERYTHING, None):
        assert missing_acls(rights, dict.fromkeys(NAMES, said), dict.fromkeys(groups, said)) == []


def test_rules_about_one_resource_become_one() -> None:
    def rule(*operations: AclOperation) -> AclRule:
        return AclRule(resource=Resource.TOPIC, name="t", operations=operations)

    assert merged([rule(AclOperation.READ), rule(AclOperation.WRITE, AclOperation.READ)]) == [
        rule(AclOperation.READ, AclOperation.WRITE)
    ]
