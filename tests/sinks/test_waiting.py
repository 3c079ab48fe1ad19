"""A wait for Postgres: growing pauses, and few lines."""

import pytest

from sinks import waiting
from sinks.errors import SinkBlockedError, SinkUnavailableError
from sinks.waiting import BLOCKED_PAUSE_MAX_S, PAUSE_MAX_S, Wait, WaitLog
from tests.logged import logged


class Clock:
    """Virtual time: it passes where it is slept."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        self.now += pause_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    monkeypatch.setattr(waiting, "asyncio", clock)
    return clock


async def test_an_hour_without_postgres_is_few_lines_and_bounded_pauses(clock: Clock) -> None:
    wait = Wait(WaitLog())
    with logged("sinks.waiting._log") as lines:
        while clock.now < 4_600:
            await wait.pause(SinkUnavailableError("gone"))
        wait.over()

    assert clock.pauses[:3] == [0.2, 0.4, 0.8]
    assert max(clock.pauses) == PAUSE_MAX_S
    assert 8 <= len(lines) <= 16
    assert lines[0]["waited_s"] == 0
    assert lines[-1]["event"] == "postgres_takes_rows"
    assert lines[-1]["waited_s"] >= 3_600


async def test_another_cause_is_said_at_once(clock: Clock) -> None:
    wait = Wait(WaitLog())
    with logged("sinks.waiting._log") as lines:
        for error in (
            SinkUnavailableError("a"),
            SinkUnavailableError("a"),
            SinkBlockedError("b"),
            SinkBlockedError("b"),
        ):
            await wait.pause(error)

    assert [(line["event"], line["reason"]) for line in lines] == [
        ("postgres_away", "a"),
        ("postgres_refuses_all", "b"),
    ]


async def test_whoever_waits_for_a_person_asks_less_often(clock: Clock) -> None:
    wait = Wait(WaitLog())
    for _ in range(12):
        await wait.pause(SinkBlockedError("b"))

    assert clock.pauses[-1] == BLOCKED_PAUSE_MAX_S


async def test_a_success_without_a_wait_says_nothing(clock: Clock) -> None:
    with logged("sinks.waiting._log") as lines:
        Wait(WaitLog()).over()

    assert lines == []


async def test_twelve_partitions_that_wait_for_one_cause_are_one_line_and_one_end(
    clock: Clock,
) -> None:
    shared = WaitLog()
    waits = [Wait(shared) for _ in range(12)]
    with logged("sinks.waiting._log") as lines:
        for wait in waits:
            await wait.pause(SinkBlockedError("b"))
        for wait in waits:
            wait.over()

    assert [line["event"] for line in lines] == ["postgres_refuses_all", "postgres_takes_rows"]
