"""A router knows how far its clock is from the broker's, and decides nothing when it is wrong."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.admin import Admin
from streams.kafka.broker_clock import BrokerClock, Measurement
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Publisher
from streams.settings import KafkaSettings
from tests.streams.building import a_topic

MINUTE_MS = 60_000


class Clocks:
    """The two clocks of a machine, as a test sets them."""

    def __init__(self, publisher: Publisher, topic: str) -> None:
        self.wall_off_ms = 0
        self.monotonic_off_ms = 0
        self.clock = BrokerClock(
            publisher,
            topic,
            wall_ms=lambda: time.time_ns() // 1_000_000 + self.wall_off_ms,
            monotonic_ms=lambda: time.monotonic_ns() // 1_000_000 + self.monotonic_off_ms,
        )

    async def difference_ms(self, at_most_ms: int = MINUTE_MS) -> int | None:
        return await self.clock.difference_ms(0, at_most_ms=at_most_ms)


@pytest.fixture
async def topic(kafka: KafkaSettings, topics: list[str]) -> str:
    """A topic to whose records the broker gives its own time."""
    name = f"{topics[0]}-times"
    async with Admin(kafka) as admin:
        await admin.apply([replace(a_topic(name), broker_times=True)])
    return name


async def probes(kafka: KafkaSettings, topic: str) -> int:
    async with LogReader(kafka, client_id="test") as reader:
        return (await reader.bounds(topic, 0))[1]


@pytest.mark.parametrize("off_ms", [0, -2 * 3_600_000, 50 * MINUTE_MS, 2 * 3_600_000])
async def test_the_difference_is_measured(off_ms: int, publisher: Publisher, topic: str) -> None:
    clocks = Clocks(publisher, topic)
    clocks.wall_off_ms = off_ms

    found = await clocks.difference_ms()

    assert found == pytest.approx(off_ms, abs=5_000)


async def test_it_is_measured_once_a_minute(
    publisher: Publisher, topic: str, kafka: KafkaSettings
) -> None:
    clocks = Clocks(publisher, topic)
    for _ in range(20):
        await clocks.difference_ms()
    assert await probes(kafka, topic) == 1

    clocks.wall_off_ms = clocks.monotonic_off_ms = MINUTE_MS + 1
    await clocks.difference_ms()
    assert await probes(kafka, topic) == 2


async def test_a_clock_that_is_set_between_two_measurements_is_noticed(
    publisher: Publisher, topic: str
) -> None:
    clocks = Clocks(publisher, topic)
    await clocks.difference_ms()
    clocks.wall_off_ms = 50 * MINUTE_MS

    assert await clocks.difference_ms() == pytest.approx(50 * MINUTE_MS, abs=5_000)


async def test_a_machine_that_slept_is_not_taken_for_one_with_a_wrong_clock(
    publisher: Publisher, topic: str
) -> None:
    clocks = Clocks(publisher, topic)
    clocks.wall_off_ms = -50 * MINUTE_MS
    await clocks.difference_ms()
    # The wall clock is right again, and the monotonic one did not count the sleep.
    clocks.wall_off_ms = 0

    assert await clocks.difference_ms() == pytest.approx(0, abs=5_000)


async def test_without_the_brokers_times_nothing_is_known_and_little_is_asked(
    publisher: Publisher, topics: list[str], kafka: KafkaSettings
) -> None:
    clocks = Clocks(publisher, topics[0])

    assert [await clocks.difference_ms() for _ in range(5)] == [None] * 5
    assert await probes(kafka, topics[0]) == 1


@given(
    difference=st.integers(-(10**9), 10**9),
    passed=st.integers(0, 10**9),
    jump=st.integers(-(10**9), 10**9),
)
def test_the_difference_grows_by_what_the_clock_was_set(
    difference: int, passed: int, jump: int
) -> None:
    measured = Measurement(difference, wall_ms=1_000, monotonic_ms=7)

    assert measured.now(1_000 + passed + jump, 7 + passed) == difference + jump
