"""The topic table."""

import pytest

from schemas.limits import Limits
from schemas.records import Lane, StepName
from schemas.topics import Topics, TopicsSettings, dlq

STEPS = [StepName("retrieve"), StepName("generate")]
TOPICS = Topics(TopicsSettings(partitions=6))
TABLE = {topic.name: topic for topic in TOPICS.table(STEPS)}


def test_a_step_has_a_topic_for_each_lane_the_most_urgent_first() -> None:
    assert TOPICS.lanes(StepName("retrieve")) == [
        "orchestrator.steps.retrieve.high.v1",
        "orchestrator.steps.retrieve.normal.v1",
        "orchestrator.steps.retrieve.low.v1",
    ]


def test_every_consumed_topic_has_a_dead_letter_topic_with_as_many_partitions() -> None:
    consumed = [*TOPICS.router_inputs, TOPICS.task_events]
    consumed += [name for step in STEPS for name in TOPICS.lanes(step)]
    for name in consumed:
        assert TABLE[dlq(name)].partitions == TABLE[name].partitions


def test_all_but_broadcasts_and_the_ledger_have_the_same_number_of_partitions() -> None:
    single = {TOPICS.control, TOPICS.dlq_actions, dlq(TOPICS.dlq_actions)}

    assert {topic.partitions for name, topic in TABLE.items() if name not in single} == {6}
    assert {TABLE[name].partitions for name in single} == {1}


def test_the_table_and_the_names_agree_on_what_a_topic_holds() -> None:
    assert all(TOPICS.record_of(name) is topic.record for name, topic in TABLE.items())


def test_the_log_and_dead_letters_take_the_largest_event() -> None:
    for name in (TOPICS.task_events, TOPICS.task_state, dlq(TOPICS.task_created)):
        assert TABLE[name].max_bytes > Limits().event_max_bytes


def test_snapshots_are_compacted_and_everything_else_expires() -> None:
    compacted = [name for name, topic in TABLE.items() if topic.retention_ms is None]

    assert compacted == [TOPICS.task_state]


def test_three_copies_need_two_to_acknowledge() -> None:
    assert TABLE[TOPICS.task_events].config["min.insync.replicas"] == "2"


@pytest.mark.parametrize(("brokers", "copies"), [(0, 1), (1, 1), (2, 2), (3, 3), (7, 3)])
def test_without_a_setting_copies_follow_the_brokers_up_to_three(brokers: int, copies: int) -> None:
    assert TopicsSettings().on_cluster(brokers).copies == copies
    assert TopicsSettings(replication_factor=2).on_cluster(brokers).copies == 2


def test_one_copy_needs_no_other_to_acknowledge() -> None:
    single = Topics(TopicsSettings(replication_factor=1)).table(STEPS)

    assert all("min.insync.replicas" not in topic.config for topic in single)


def test_a_prefix_separates_systems_on_one_cluster() -> None:
    other = Topics(TopicsSettings(prefix="staging."))

    assert other.step(StepName("retrieve"), Lane.LOW) == "staging.steps.retrieve.low.v1"


@pytest.mark.parametrize("wrong", [{"partitions": 0}, {"replication_factor": 0}])
def test_settings_that_no_broker_takes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        TopicsSettings(**wrong)  # type: ignore[arg-type]
