"""What workers do when one of them comes, goes, or has too much to do."""

import asyncio
from contextlib import AsyncExitStack

from schemas.records import Lane, ResultKind
from tests.agents.steps.working import STEP, Service, Site, a_command, a_worker, assigned
from tests.streams.building import until


async def test_a_worker_that_is_told_to_stop_finishes_its_calls_and_begins_none(
    site: Site, service: Service
) -> None:
    service.answers.clear()
    commands = [a_command(partition=0) for _ in range(6)]
    async with a_worker(site, service, slots=3, grace_s=20.0) as app:
        await site.send(*commands)
        # The third slot is for the high lane.
        await until(lambda: len(service.calls) == 2)
        closing = asyncio.create_task(app.close(20.0))
        await until(lambda: app.closing)
        service.answers.set()
        await closing
        begun = len(service.calls)
    left = await site.committed()

    async with a_worker(site, service):
        results = await site.results_of(6)

    assert (begun, left) == (2, 2)
    assert [service.called(command.task_id) for command in commands] == [1] * 6
    assert {result.kind for result in results} == {ResultKind.SUCCEEDED}


async def test_workers_that_are_replaced_one_by_one_call_everything_once(
    site: Site, service: Service
) -> None:
    service.delay_s = 0.05
    commands = [a_command() for _ in range(300)]
    async with AsyncExitStack() as second, AsyncExitStack() as third:
        async with a_worker(site, service, grace_s=10.0) as first:
            other = await second.enter_async_context(a_worker(site, service, grace_s=10.0))
            await assigned(first, other)
            await site.send(*commands[:150])
            await until(lambda: len(service.calls) > 20)
        stopped_at = len(service.calls)
        new = await third.enter_async_context(a_worker(site, service, grace_s=10.0))
        await site.send(*commands[150:])
        await assigned(other, new)
        await until(lambda: len(service.calls) > 170)
        await second.aclose()
        results = await site.results_of(300)

    assert stopped_at < 150, "the first worker was stopped too late to prove anything"
    assert [service.called(command.task_id) for command in commands] == [1] * 300
    assert len({result.command_id for result in results}) == 300


async def test_a_call_outlives_a_rebalance_that_leaves_it_its_partition(
    site: Site, service: Service
) -> None:
    service.answers.clear()
    commands = [a_command(partition=0), a_command(partition=1)]
    async with a_worker(site, service) as first:
        await site.send(*commands)
        await until(lambda: len(service.calls) == 2)
        async with a_worker(site, service) as second:
            await assigned(first, second)
            # One went to the new worker, and is called there.
            await until(lambda: len(service.calls) == 3 and len(service.aborted) == 1)
            service.answers.set()
            async with asyncio.timeout(30):
                while await site.committed() < 2:  # noqa: ASYNC110  # the broker knows
                    await asyncio.sleep(0.05)
            results = await site.results()

    calls = {command.task_id: service.called(command.task_id) for command in commands}
    moved = service.aborted[0][0]
    assert {task_id for task_id, count in calls.items() if count == 2} == {moved}
    assert sorted(calls.values()) == [1, 2]
    # A copy that is delivered after the call ended repeats the result, not the call.
    assert {result.task_id for result in results} == set(calls)


async def test_a_flood_in_one_lane_neither_fills_the_memory_nor_holds_up_another(
    site: Site, service: Service
) -> None:
    service.answers.clear()
    flood = [a_command() for _ in range(80)]
    urgent = a_command()
    async with a_worker(site, service, slots=2, buffered_max=30) as app:
        await site.send(*flood, lane=Lane.LOW)
        await until(lambda: app.full_topics() == {site.topics.step(STEP, Lane.LOW)})
        await site.send(urgent, lane=Lane.HIGH)
        await until(lambda: service.called(urgent.task_id) == 1)
        taken = len(app.pending)
        service.answers.set()
        results = await site.results_of(81)

    assert taken <= 30
    assert len({result.command_id for result in results}) == 81
    assert len(service.calls) == 81
