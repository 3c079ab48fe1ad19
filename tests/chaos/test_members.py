"""Processes join, leave, sleep and are restarted: partitions move, histories do not break."""

import pytest

from tests.chaos.chaos import END_S, Chaos
from tests.chaos.load import a_task

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

TRIES = 5


async def test_a_clean_restart_of_every_role_calls_no_service_again(chaos: Chaos) -> None:
    supervisor = chaos.running.system.supervisor
    async with chaos.load("rolling restart") as load:
        for name in ("router", "sink", "step.retrieve", "step.generate"):
            assert await chaos.enough(load) >= chaos.form.in_flight
            await supervisor.restart(name)
            await chaos.joined(name, 1)
    await chaos.check(load)

    assert chaos.extra_calls(load) == 0


async def test_routers_and_workers_join_and_leave(chaos: Chaos) -> None:
    system, epochs = chaos.running.system, sum(chaos.watch.epochs.values())
    members = {"router": 2, "step.retrieve": 3}
    further: list[str] = []
    async with chaos.load("join and leave") as load:
        for _ in range(chaos.form.twice):
            assert await chaos.enough(load) >= chaos.form.in_flight
            if further:
                for name in further:
                    await system.supervisor.start(name)
            else:
                further = [
                    system.add_replica(role)
                    for role, count in members.items()
                    for _ in range(count - 1)
                ]
            for role, count in members.items():
                await chaos.joined(role, count)
            assert await chaos.enough(load) >= chaos.form.in_flight
            for name in further:
                await system.supervisor.stop(name)
            for role in members:
                await chaos.joined(role, 1)
    await chaos.check(load)

    # Each change of the routers moved partitions: some were taken over each time.
    assert sum(chaos.watch.epochs.values()) - epochs > 2 * chaos.form.twice


async def test_a_router_that_slept_past_its_session_changes_nothing(chaos: Chaos) -> None:
    system, seen = chaos.running.system, 0
    async with chaos.load("zombie") as load:
        second = await _a_second_router(chaos)
        for _ in range(TRIES):
            # Their deadlines pass while the router sleeps: awake again it decides them at
            # once, before it can learn that it was replaced.
            doomed = [a_task("hanging", timeout_ms=5_000) for _ in range(16)]
            ids = {task["task_id"] for task in doomed}
            await load.publish(doomed)
            await chaos.watch.until(lambda ids=ids: chaos.watch.created >= ids, timeout_s=END_S)  # type: ignore[misc]
            assert await chaos.enough(load) >= chaos.form.in_flight
            seen = chaos.watch.zombie_events
            system.supervisor.pause("router")
            try:
                await chaos.watch.until(lambda ids=ids: chaos.watch.ended >= ids, timeout_s=END_S)  # type: ignore[misc]
            finally:
                system.supervisor.resume("router")
            await chaos.joined("router", 2)
            if chaos.watch.zombie_events > seen:
                break
        await system.supervisor.stop(second)
    statistics = await chaos.check(load)

    assert statistics.zombie_events > 0, "no zombie wrote anything: the sleep proves nothing"
    assert statistics.ignored_events >= statistics.zombie_events


async def _a_second_router(chaos: Chaos) -> str:
    system = chaos.running.system
    found = [name for name in system.replicas("router") if name != "router"]
    second = found[0] if found else system.add_replica("router")
    if found:
        await system.supervisor.start(second)
    await chaos.joined("router", 2)
    return second
