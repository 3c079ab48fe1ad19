"""A process that cannot keep up takes less."""

import asyncio
import gc
import time

from hypothesis import given
from hypothesis import strategies as st

from streams import metrics
from streams.kafka.publisher import Publisher
from streams.runtime.delivery import Delivery
from streams.runtime.pace import LATE_S, LoopWatch, Pace
from streams.settings import KafkaSettings
from tests.streams.building import a_consumer, a_record, until

DELAYS = st.floats(0, 60, allow_nan=False)


def test_an_event_loop_that_is_on_time_gives_all_slots() -> None:
    pace = Pace(64)
    for _ in range(100):
        pace.observe(0.001)

    assert pace.slots == 64


def test_each_look_that_finds_it_late_halves_the_slots_down_to_one() -> None:
    pace, seen = Pace(64), []
    for _ in range(8):
        pace.observe(LATE_S * 2)
        seen.append(pace.slots)

    assert seen == [32, 16, 8, 4, 2, 1, 1, 1]


def test_a_little_late_changes_nothing() -> None:
    pace = Pace(64)
    pace.observe(LATE_S * 2)
    pace.observe(LATE_S * 0.75)

    assert pace.slots == 32


@given(slots=st.integers(1, 1000), delays=st.lists(DELAYS, max_size=50))
def test_there_is_always_a_slot_and_never_more_than_all(slots: int, delays: list[float]) -> None:
    pace = Pace(slots)
    for delay_s in delays:
        pace.observe(delay_s)
        assert 1 <= pace.slots <= slots


@given(slots=st.integers(1, 1000), delays=st.lists(DELAYS, max_size=50))
def test_all_slots_are_back_soon_after_the_last_delay(slots: int, delays: list[float]) -> None:
    pace = Pace(slots)
    for delay_s in [*delays, *[0.0] * 16]:
        pace.observe(delay_s)

    assert pace.slots == slots


async def test_a_blocked_event_loop_is_noticed() -> None:
    pace, looks = Pace(64), asyncio.Queue[int]()
    watch = LoopWatch(pace, lambda: looks.put_nowait(pace.slots))
    watch.start()
    watch.start()
    time.sleep(1.0)  # noqa: ASYNC251  # what is tested

    assert await looks.get() == 32
    assert pace.delay_s > LATE_S
    assert await looks.get() == 40
    watch.stop()


async def test_a_worker_that_is_late_takes_less_and_then_all_again(
    kafka: KafkaSettings, group: str, topics: list[str], publisher: Publisher
) -> None:
    await publisher.publish([a_record(topics[0])])
    seen: list[float] = []

    async def work(delivery: Delivery) -> None:
        await asyncio.sleep(0.3)  # the first look is over
        time.sleep(1.0)  # noqa: ASYNC251  # what is tested
        await asyncio.sleep(0.3)
        seen.extend(
            (read("orchestrator_slots") - others, read("orchestrator_event_loop_delay_seconds"))
        )

    def read(name: str) -> float:
        return next(
            sample.value
            for gauge in (metrics.SLOTS, metrics.LOOP_DELAY_SECONDS)
            for sample in next(iter(gauge.collect())).samples
            if sample.name == name
        )

    # The gauge is a sum over this process: the windows of other tests may still be there.
    gc.collect()
    others = read("orchestrator_slots")
    async with a_consumer(group, kafka, topics, work):
        await until(lambda: len(seen) == 2)
        await until(lambda: read("orchestrator_slots") - others == 8)

    assert seen[0] < 8
