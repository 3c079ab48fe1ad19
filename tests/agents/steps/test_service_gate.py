"""A service that fails for good, as its workers see it: a real broker, a window of ten."""

import asyncio
from collections.abc import Sequence

from schemas.records import ControlKind, Lane, ResultKind, StepCommand
from streams.kafka.group_reading import group_readings
from tests.agents.steps.working import (
    PARTITIONS,
    SERVICE,
    STEP,
    Service,
    Site,
    a_command,
    a_worker,
)
from tests.streams.building import until

BEFORE_THE_PAUSE = 6
"""Dead letters of a window of ten: one more than half of it."""


def last_attempts(count: int) -> list[StepCommand]:
    return [a_command(attempt=4, max_attempts=4) for _ in range(count)]


async def flooded(site: Site, service: Service, commands: Sequence[StepCommand]) -> None:
    """Send commands to a service that answers none, and wait until it is only probed."""
    service.raises = TimeoutError()
    await site.send(*commands)
    await until(lambda: len(service.calls) > BEFORE_THE_PAUSE)


async def test_a_service_that_is_away_leaves_few_dead_letters_and_goes_on_when_it_is_back(
    site: Site, service: Service
) -> None:
    commands = last_attempts(40)
    async with a_worker(site, service, buffered_max=9) as app:
        await flooded(site, service, commands)
        await until(lambda: site.topics.step(STEP, Lane.NORMAL) in app.full_topics())
        assert await site.committed() <= len(service.calls)

        service.raises = None
        results = await site.results_of(40)

    failed = [result for result in results if result.kind is ResultKind.FAILED]
    assert BEFORE_THE_PAUSE <= len(failed) < 20
    assert {result.command_id for result in results} == {c.command_id for c in commands}
    assert len(results) == len(service.calls) == 40


async def test_a_paused_service_is_noted_beside_the_offsets_of_its_group(
    site: Site, service: Service
) -> None:
    places = [(site.topics.step(STEP, Lane.NORMAL), p) for p in range(PARTITIONS)]

    async def note() -> str:
        found = await group_readings(site.kafka, {site.group: places}, client_id="test")
        return found[site.group].note

    async with a_worker(site, service):
        await flooded(site, service, last_attempts(40))
        async with asyncio.timeout(30):
            while SERVICE not in await note():
                pass
            service.raises = None
            while await note():
                pass


async def test_a_probe_is_a_first_attempt_where_there_is_one(site: Site, service: Service) -> None:
    commands, first = last_attempts(BEFORE_THE_PAUSE + 20), a_command(attempt=1, max_attempts=4)
    async with a_worker(site, service, slots=40):
        await flooded(site, service, commands)
        await site.send(first)
        await until(lambda: service.called(first.task_id) == 1)
        before = len(service.calls)
        service.raises = None
        await until(lambda: len(service.calls) > before)

    assert before <= BEFORE_THE_PAUSE + 4


async def test_a_cancelled_command_does_not_wait_for_its_service(
    site: Site, service: Service
) -> None:
    commands = last_attempts(8)
    async with a_worker(site, service, probe_every_s=60.0):
        service.raises = TimeoutError()
        await site.send(*commands)
        ended = {result.task_id for result in await site.results_of(BEFORE_THE_PAUSE)}
        [waiting, _] = [c.task_id for c in commands if c.task_id not in ended]
        await site.control(waiting, ControlKind.CANCEL)
        results = await site.results_of(BEFORE_THE_PAUSE + 1)

    kinds = {result.task_id: result.kind for result in results}
    assert (kinds[waiting], service.called(waiting)) == (ResultKind.CANCELLED, 0)


async def test_a_worker_that_stops_gives_waiting_commands_back_at_once_and_another_runs_them(
    site: Site, service: Service
) -> None:
    commands = last_attempts(20)
    async with asyncio.timeout(20):
        async with a_worker(site, service, grace_s=60.0):
            await flooded(site, service, commands)
    service.raises = None
    async with a_worker(site, service):
        results = await site.results_of(20)

    assert {result.command_id for result in results} == {c.command_id for c in commands}
    assert sum(result.kind is ResultKind.SUCCEEDED for result in results) >= 8
