"""Who may write to a partition of the log, against a real broker."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import msgspec
import pytest

from schemas.records import Millis
from schemas.topics import Topics, TopicsSettings
from streams.errors import LogLostError, OwnershipLostError
from streams.history.acceptance import Ownership
from streams.kafka.admin import Admin
from streams.kafka.broker_clock import BrokerClock
from streams.kafka.dead_letters import DeadLetters
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Publisher
from streams.ownership.kafka_world import KafkaWorld, WorldParts
from streams.ownership.owned_log import OwnedLog
from streams.ownership.ports import Checkpoint, Sealed, StateRecord
from streams.ownership.recovery import Recovery
from streams.settings import KafkaSettings
from tests.streams.building import a_record, a_topic
from tests.tasks.builders import CREATED, RULES, START, Life, a_life


@pytest.fixture
async def topics(kafka: KafkaSettings) -> Topics:
    topics = Topics(TopicsSettings(prefix=f"{uuid.uuid4()}."))
    async with Admin(kafka) as admin:
        await admin.apply([a_topic(topics.task_events, partitions=1)])
    return topics


@pytest.fixture
async def world(
    kafka: KafkaSettings, topics: Topics, publisher: Publisher
) -> AsyncIterator[KafkaWorld]:
    async with LogReader(kafka, client_id="ends") as ends:
        parts = WorldParts(
            group="g",
            kafka=kafka,
            topics=topics,
            limits=RULES.limits,
            publisher=publisher,
            dead_letters=DeadLetters(publisher, group="g"),
            clock=BrokerClock(publisher, topics.task_state),
            inputs=ends,
            logs=ends,
        )
        yield KafkaWorld(0, parts)


def a_recovery() -> Recovery:
    return Recovery(
        pipelines=RULES.pipelines,
        committed={},
        created_topic=CREATED,
        events_topic="log",
        state_topic="state",
        partitions=1,
    )


async def an_owner(world: KafkaWorld) -> tuple[OwnedLog, Recovery]:
    owned, recovery = OwnedLog(0, world), a_recovery()
    await owned.take_over(recovery, lambda: Millis(START))
    return owned, recovery


def events_of(life: Life, owned: OwnedLog, world: KafkaWorld) -> list[Sealed]:
    stamped = [
        msgspec.structs.replace(
            event, owner=owned.ownership.owner, owner_epoch=owned.ownership.epoch
        )
        for event in life.events
    ]
    return [world.seal_event(event, {}) for event in stamped]


async def test_each_takeover_has_the_next_epoch_and_its_own_id(
    world: KafkaWorld,
) -> None:
    first, _ = await an_owner(world)
    second, _ = await an_owner(world)

    assert (first.ownership.epoch, second.ownership.epoch) == (1, 2)
    assert first.ownership.owner != second.ownership.owner


async def test_a_log_that_ends_before_its_checkpoint_is_taken_over_by_nobody(
    world: KafkaWorld,
) -> None:
    checkpoint = Checkpoint(offset=7, state_from=0, decided_created=-1, partitions=1)
    recovery = a_recovery()
    recovery.load(StateRecord(checkpoint, Ownership(1, "o")))

    with pytest.raises(LogLostError):
        await OwnedLog(0, world).take_over(recovery, lambda: Millis(START))
    assert await world.log_end() == 0


async def test_a_successor_remembers_what_was_appended(
    world: KafkaWorld,
) -> None:
    life = a_life()
    owned, _ = await an_owner(world)
    await owned.append(events_of(life, owned, world))

    _, recovery = await an_owner(world)
    assert list(recovery.tasks.values()) == [life.task]


async def test_a_deposed_owner_stops_at_its_next_append(
    world: KafkaWorld,
) -> None:
    deposed, _ = await an_owner(world)
    await an_owner(world)

    with pytest.raises(OwnershipLostError):
        await deposed.append(events_of(a_life(), deposed, world))


async def test_what_a_deposed_owner_appended_is_nobody_s_memory(
    world: KafkaWorld,
) -> None:
    deposed, _ = await an_owner(world)
    await an_owner(world)
    with pytest.raises(OwnershipLostError):
        await deposed.append(events_of(a_life(), deposed, world))

    _, recovery = await an_owner(world)
    assert recovery.tasks == {}


async def test_a_stranger_s_bytes_in_the_log_depose_nobody(
    world: KafkaWorld, topics: Topics, publisher: Publisher
) -> None:
    life = a_life()
    owned, _ = await an_owner(world)
    await publisher.publish([a_record(topics.task_events, value=b"garbage")])
    await owned.append(events_of(life, owned, world))
    life.succeeded()
    await owned.append(events_of(life, owned, world)[1:])

    _, recovery = await an_owner(world)
    assert list(recovery.tasks.values()) == [life.task]


async def test_of_takeovers_at_the_same_time_each_gets_an_epoch_of_its_own(
    world: KafkaWorld,
) -> None:
    owners = await asyncio.gather(*(an_owner(world) for _ in range(5)))

    epochs = [owned.ownership.epoch for owned, _ in owners]
    assert sorted(epochs) == [1, 2, 3, 4, 5]


async def test_an_owner_that_appends_nothing_notices_its_successor_all_the_same(
    world: KafkaWorld,
) -> None:
    deposed, _ = await an_owner(world)
    await deposed.prove()
    await an_owner(world)

    with pytest.raises(OwnershipLostError):
        await deposed.prove()
