"""Who may write to a partition of the log, against a real broker."""

import asyncio
import uuid

import msgspec
import pytest

from schemas.records import Millis
from schemas.topics import Topics, TopicsSettings
from streams.admin import Admin
from streams.envelopes import event_record
from streams.errors import OwnershipLostError
from streams.ownership.owned_log import OwnedLog
from streams.ownership.recovery import Recovery
from streams.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings
from tests.streams.building import a_record, a_topic
from tests.tasks.builders import RULES, START, Life, a_life


@pytest.fixture
async def topics(kafka: KafkaSettings) -> Topics:
    topics = Topics(TopicsSettings(prefix=f"{uuid.uuid4()}."))
    async with Admin(kafka) as admin:
        await admin.apply([a_topic(topics.task_events, partitions=1)])
    return topics


async def an_owner(
    kafka: KafkaSettings, topics: Topics, publisher: Publisher
) -> tuple[OwnedLog, Recovery]:
    owned = OwnedLog(0, kafka=kafka, topics=topics, publisher=publisher)
    recovery = Recovery(pipelines=RULES.pipelines, committed={}, now=START)
    await owned.take_over(recovery, lambda: Millis(START))
    return owned, recovery


def events_of(life: Life, owned: OwnedLog, topics: Topics) -> list[Outgoing]:
    stamped = [
        msgspec.structs.replace(
            event, owner=owned.ownership.owner, owner_epoch=owned.ownership.epoch
        )
        for event in life.events
    ]
    return [event_record(topics, 0, event, {}) for event in stamped]


async def test_each_takeover_has_the_next_epoch_and_its_own_id(
    kafka: KafkaSettings, topics: Topics, publisher: Publisher
) -> None:
    first, _ = await an_owner(kafka, topics, publisher)
    second, _ = await an_owner(kafka, topics, publisher)

    assert (first.ownership.epoch, second.ownership.epoch) == (1, 2)
    assert first.ownership.owner != second.ownership.owner


async def test_a_successor_remembers_what_was_appended(
    kafka: KafkaSettings, topics: Topics, publisher: Publisher
) -> None:
    life = a_life()
    owned, _ = await an_owner(kafka, topics, publisher)
    await owned.append(events_of(life, owned, topics))

    _, recovery = await an_owner(kafka, topics, publisher)
    assert list(recovery.tasks.values()) == [life.task]


async def test_a_deposed_owner_stops_at_its_next_append(
    kafka: KafkaSettings, topics: Topics, publisher: Publisher
) -> None:
    deposed, _ = await an_owner(kafka, topics, publisher)
    await an_owner(kafka, topics, publisher)

    with pytest.raises(OwnershipLostError):
        await deposed.append(events_of(a_life(), deposed, topics))


async def test_what_a_deposed_owner_appended_is_nobody_s_memory(
    kafka: KafkaSettings, topics: Topics, publisher: Publisher
) -> None:
    deposed, _ = await an_owner(kafka, topics, publisher)
    await an_owner(kafka, topics, publisher)
    with pytest.raises(OwnershipLostError):
        await deposed.append(events_of(a_life(), deposed, topics))

    _, recovery = await an_owner(kafka, topics, publisher)
    assert recovery.tasks == {}


async def test_a_stranger_s_bytes_in_the_log_depose_nobody(
    kafka: KafkaSettings, topics: Topics, publisher: Publisher
) -> None:
    life = a_life()
    owned, _ = await an_owner(kafka, topics, publisher)
    await publisher.publish([a_record(topics.task_events, value=b"garbage")])
    await owned.append(events_of(life, owned, topics))
    life.succeeded()
    await owned.append(events_of(life, owned, topics)[1:])

    _, recovery = await an_owner(kafka, topics, publisher)
    assert list(recovery.tasks.values()) == [life.task]


async def test_of_takeovers_at_the_same_time_each_gets_an_epoch_of_its_own(
    kafka: KafkaSettings, topics: Topics, publisher: Publisher
) -> None:
    owners = await asyncio.gather(*(an_owner(kafka, topics, publisher) for _ in range(5)))

    epochs = [owned.ownership.epoch for owned, _ in owners]
    assert sorted(epochs) == [1, 2, 3, 4, 5]
