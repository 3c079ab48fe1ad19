"""Whatever is killed: no task is lost, none ends twice, and the rows equal the log."""

import pytest

from tests.chaos.chaos import Chaos
from tests.chaos.load import Load

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]


async def kill_under_load(chaos: Chaos, name: str) -> Load:
    """Kill a role as often as the form says, then let the checker judge.

    By construction each kill hit work that was delivered again; the bound of what that may
    cost is the number of those records.
    """
    async with chaos.load(f"kill {name}") as load:
        blows = [await chaos.kill(name, load) for _ in range(chaos.form.kills)]
    await chaos.check(load)

    assert len(blows) == chaos.form.kills
    assert all(blow.redelivered > 0 for blow in blows)
    assert all(blow.in_flight >= chaos.form.in_flight for blow in blows)
    assert chaos.extra_calls(load) <= sum(blow.redelivered for blow in blows)
    return load


@pytest.mark.parametrize("name", ["step.retrieve", "step.generate"])
async def test_tasks_survive_the_kill_of_a_step_worker(chaos: Chaos, name: str) -> None:
    load = await kill_under_load(chaos, name)

    assert chaos.extra_calls(load) > 0, "no command ran again: the kill proves nothing"


async def test_tasks_survive_the_kill_of_the_router(chaos: Chaos) -> None:
    await kill_under_load(chaos, "router")


async def test_tasks_survive_the_kill_of_the_sink(chaos: Chaos) -> None:
    await kill_under_load(chaos, "sink")
