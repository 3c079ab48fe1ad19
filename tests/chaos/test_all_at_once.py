"""Everything at once: kills, restarts, sleeps, joins and leaves, and both servers."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.chaos.chaos import Chaos
from tests.chaos.load import Load

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(0)]

SLEEP_S = 8.0
"""Past the session of 6 s."""


class Storm:
    """Draws one fault after the other from the plan. Servers are back before the next one."""

    def __init__(self, chaos: Chaos, load: Load) -> None:
        self._chaos = chaos
        self._load = load
        self._supervisor = chaos.running.system.supervisor
        self.counts: dict[str, int] = {}

    async def run(self) -> None:
        faults = [self.kill, self.restart, self.sleep, self.come_or_go, self.broker, self.postgres]
        weights = [6, 2, 1, 2, 1, 1]
        until = asyncio.get_running_loop().time() + 60 * self._chaos.form.minutes
        while asyncio.get_running_loop().time() < until:
            await self._chaos.enough(self._load)
            fault: Callable[[], Awaitable[None]] = self._load.pick(faults, weights)
            name = getattr(fault, "__name__", "")
            self.counts[name] = self.counts.get(name, 0) + 1
            await fault()
            await asyncio.sleep(2 * self._load.draw())
        for child in self._supervisor.children:
            await self._supervisor.start(child)

    async def kill(self) -> None:
        self._supervisor.children[self._any()].kill()

    async def restart(self) -> None:
        await self._supervisor.restart(self._any())

    async def sleep(self) -> None:
        name = self._any()
        self._supervisor.pause(name)
        await asyncio.sleep(SLEEP_S)
        self._supervisor.resume(name)

    async def come_or_go(self) -> None:
        name = self._load.pick(["router.2", "step.retrieve.2", "step.retrieve.3"], [1, 1, 1])
        child = self._supervisor.children[name]
        if child.returncode is None:
            await self._supervisor.stop(name)
        else:
            await self._supervisor.start(name)

    async def broker(self) -> None:
        await self._chaos.kafka.kill()
        await self._chaos.kafka.start()

    async def postgres(self) -> None:
        await self._chaos.postgres.kill()
        await self._chaos.postgres.start()

    def _any(self) -> str:
        names = [name for name in self._supervisor.children if name != "demo-services"]
        return self._load.pick(names, [1] * len(names))


async def test_tasks_survive_everything_at_once(chaos: Chaos) -> None:
    system = chaos.running.system
    async with chaos.load("all at once") as load:
        blow = await chaos.kill("step.retrieve", load)
        for role in ("router", "step.retrieve", "step.retrieve"):
            system.add_replica(role)
        storm = Storm(chaos, load)
        await storm.run()
    statistics = await chaos.check(load)
    print(storm.counts)

    assert blow.redelivered > 0
    assert statistics.duplicate_results + chaos.extra_calls(load) > 0
