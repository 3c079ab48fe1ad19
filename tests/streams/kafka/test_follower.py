"""Following topics outside of any group, on the real Kafka."""

import asyncio
from collections.abc import Sequence

import pytest

from schemas.dead_letter import Origin
from streams.kafka.follower import FollowedTooLateError, Follower
from streams.kafka.publisher import Publisher
from streams.settings import KafkaSettings
from tests.streams.building import WAIT_S, a_record, until


async def test_it_gives_all_partitions_in_order_from_their_starts(
    kafka: KafkaSettings, topics: list[str], publisher: Publisher
) -> None:
    first, second = topics
    values = [str(number).encode() for number in range(300)]
    await publisher.publish([a_record(first, value=value) for value in values])
    seen: list[Origin] = []
    async with Follower(kafka, client_id="test") as follower:
        following = asyncio.create_task(
            follower.run({(first, 0): 10, (second, 0): 0}, lambda records: seen.extend(records))
        )
        await publisher.publish([a_record(second, value=b"later")])
        await until(lambda: len(seen) == 291)
        following.cancel()

    assert [record.value for record in seen if record.topic == first] == values[10:]
    assert [record.value for record in seen if record.topic == second] == [b"later"]


async def test_who_caught_up_has_seen_what_was_there_when_it_asked(
    kafka: KafkaSettings, topics: list[str], publisher: Publisher
) -> None:
    topic, seen = topics[0], 0

    def count(records: Sequence[Origin]) -> None:
        nonlocal seen
        seen += len(records)

    async with Follower(kafka, client_id="test") as follower:
        following = asyncio.create_task(follower.run({(topic, 0): 0}, count))
        for number in range(1, 20):
            await publisher.publish([a_record(topic)])
            await follower.catch_up([(topic, 0)], timeout_s=WAIT_S)
            assert seen >= number
        following.cancel()


async def test_it_says_how_many_records_of_a_topic_it_has_not_handled(
    kafka: KafkaSettings, topics: list[str], publisher: Publisher
) -> None:
    await publisher.publish([a_record(topics[0]) for _ in range(3)])
    behind: list[dict[str, int]] = []
    async with Follower(kafka, client_id="test") as follower:
        following = asyncio.create_task(
            follower.run({(topics[0], 0): 0}, lambda _: behind.append(follower.behind()))
        )
        await follower.catch_up([(topics[0], 0)], timeout_s=WAIT_S)
        behind.append(follower.behind())
        following.cancel()

    assert behind[0] == {topics[0]: 3}
    assert behind[-1] == {topics[0]: 0}


async def test_a_start_that_the_log_does_not_hold_is_told(
    kafka: KafkaSettings, topics: list[str]
) -> None:
    async with Follower(kafka, client_id="test") as follower:
        with pytest.raises(FollowedTooLateError):
            async with asyncio.timeout(WAIT_S):
                await follower.run({(topics[0], 0): 99}, lambda records: None)
