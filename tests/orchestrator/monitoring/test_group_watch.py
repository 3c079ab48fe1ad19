"""The groups of a system are watched from outside: their lag, its age, and whether anyone reads."""

import asyncio
import uuid

import pytest

from orchestrator.layout import topic_table
from orchestrator.monitoring import group_lag
from orchestrator.monitoring.group_lag import GroupWatch, watched_groups
from orchestrator.monitoring.settings import MetricsSettings
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings
from schemas.topics import Topics, TopicsSettings
from streams.kafka.admin import Admin
from streams.kafka.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings
from tests.logged import logged


async def test_a_group_without_a_member_has_a_lag_that_grows_older(kafka_bootstrap: str) -> None:
    settings = Settings(
        kafka=KafkaSettings(bootstrap=kafka_bootstrap),
        topics=TopicsSettings(prefix=f"lag-{uuid.uuid4()}.", partitions=2, replication_factor=1),
    )
    pipelines, topics = installed_pipelines(settings.pipelines), Topics(settings.topics)
    async with Admin(settings.kafka) as admin:
        await admin.apply(topic_table(settings, pipelines), settings.topics)
    watch = GroupWatch(settings)
    await watch.look()
    publisher = Publisher(settings.kafka, client_id="test")
    await publisher.open()
    try:
        record = Outgoing(topic=topics.task_events, partition=1, key=b"k", value=b"v")
        await publisher.publish([record, record])
    finally:
        await publisher.close()
    await watch.look()
    await watch.look()

    group = f"{settings.topics.prefix}sink"
    lag = group_lag.LAG_RECORDS.labels(group, topics.task_events, "1")._value.get()
    age_s = group_lag.LAG_AGE_SECONDS.labels(group, topics.task_events, "1")._value.get()
    other = group_lag.LAG_RECORDS.labels(group, topics.task_events, "0")._value.get()
    assert (lag, other) == (2, 0)
    assert 0 < age_s < 60
    assert group_lag.MEMBERS.labels(group)._value.get() == 0
    assert group_lag.PARTITIONS._value.get() == 2


async def test_an_unexpected_error_is_logged_and_the_watch_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked, again = 0, asyncio.Event()

    async def look(_watch: GroupWatch) -> None:
        nonlocal looked
        looked += 1
        if looked == 1:
            raise RuntimeError("a fault of ours")
        again.set()

    monkeypatch.setattr(GroupWatch, "look", look)
    settings = Settings(
        kafka=KafkaSettings(bootstrap="127.0.0.1:1"), metrics=MetricsSettings(lag_interval_s=0.01)
    )
    with logged("orchestrator.monitoring.group_lag.log") as lines:
        async with asyncio.timeout(10), watched_groups(settings):
            await again.wait()

    assert [(line["event"], line["code"]) for line in lines] == [("groups_not_watched", "INTERNAL")]
