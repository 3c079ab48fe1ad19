"""A system under load, the faults that hit it, and the evidence that they hit something."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from tests.chaos.form import Form
from tests.chaos.load import Load
from tests.chaos.watch import Watch
from tests.checker.reading import read_committed, read_ends, read_members, read_positions
from tests.checker.verdict import Statistics
from tests.e2e.driving import Running

TRIES = 30
END_S = 150.0
COMMIT_S = 45.0
"""Until everything is committed that was done; commits come each second."""


@dataclass(frozen=True, slots=True)
class Blow:
    """A fault that hit: what was under way, counted while nothing could move on."""

    target: str
    in_flight: int
    redelivered: int
    """Records that were worked on and not committed: they are delivered again."""


@dataclass(slots=True)
class Chaos:
    """A running system and the means to disturb it."""

    running: Running
    watch: Watch
    form: Form
    kafka: EmbeddedKafka
    postgres: EmbeddedPostgres
    blows: list[Blow] = field(default_factory=list)

    @property
    def prefix(self) -> str:
        return self.running.system.settings.topics.prefix

    @asynccontextmanager
    async def load(self, name: str, kind: type[Load] = Load) -> AsyncIterator[Load]:
        """Tasks while the faults of the body happen; then all of them have to end."""
        load = kind(
            self.running.bootstrap,
            self.prefix,
            self.watch,
            self.form.plan(name),
            in_flight=self.form.in_flight + self.form.surplus,
        )
        publishing = asyncio.create_task(load.run(at_least=self.form.tasks))
        try:
            # All roles are at work when the first task has ended.
            await self.watch.until(
                lambda: not self.watch.ended.isdisjoint(load.ids) or publishing.done(),
                timeout_s=END_S,
            )
            yield load
            load.finish()
            await publishing
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
        await self.all_ended(load.ids)

    async def all_ended(self, ids: list[str]) -> None:
        """Wait until these tasks ended in the log."""
        try:
            await self.watch.until(lambda: self.watch.ended.issuperset(ids), timeout_s=END_S)
        except TimeoutError:
            left = set(ids) - self.watch.ended
            raise AssertionError(f"{len(left)} tasks did not end: {sorted(left)[:3]}") from None

    async def enough(self, load: Load) -> int:
        """Wait until enough tasks are in flight for a fault; return how many."""
        await self.watch.until(lambda: load.in_flight >= self.form.in_flight, timeout_s=END_S)
        return load.in_flight

    async def joined(self, role: str, members: int) -> None:
        """Wait until a role's group is stable with so many members."""
        async with asyncio.timeout(END_S):
            while await read_members(self.running.bootstrap, self.prefix + role) != members:  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    async def written(self) -> int:
        """How far the sink has come, in events of the log."""
        return sum((await read_positions(self.running.system.settings.postgres.dsn)).values())

    async def kill(self, name: str, load: Load) -> Blow:
        """SIGKILL a process at a moment when it has work that is not committed.

        It is paused to look; if there is nothing to lose it goes on, and we look again. What
        counts is what is found when it is dead and kept down: nobody can commit that.

        Raises:
            AssertionError: there was no such moment.
        """
        supervisor = self.running.system.supervisor
        for _ in range(TRIES):
            await self.enough(load)
            supervisor.pause(name)
            if not await self.uncommitted(name):
                supervisor.resume(name)
                await asyncio.sleep(load_pause_s(load))
                continue
            supervisor.hold(name)
            self.running.system.child(name).kill()
            await self.running.system.child(name).wait(10.0)
            blow = Blow(name, load.in_flight, await self.uncommitted(name))
            await supervisor.start(name)
            if blow.redelivered:
                self.blows.append(blow)
                return blow
        raise AssertionError(f"{name} never had anything to lose: the kill proves nothing")

    async def uncommitted(self, name: str) -> int:
        """Records that the only process of a role has worked on and not committed."""
        await self._read_up()
        committed = await read_committed(self.running.bootstrap, self.prefix)
        if name == "router":
            return sum(
                offset >= committed.get((name, topic, partition), 0)
                for topic, partition, offset in self.watch.causes
            )
        if name == "sink":
            topic = f"{self.prefix}task-events.v1"
            positions = await read_positions(self.running.system.settings.postgres.dsn)
            return sum(
                max(0, written - committed.get((name, topic, partition), 0))
                for partition, written in positions.items()
            )
        called = {call["idempotency_key"] for call in self.running.calls()}
        return sum(
            offset >= committed.get((name, topic, partition), 0) and command_id in called
            for (topic, partition, offset), command_id in self.watch.commands.items()
            if topic.startswith(f"{self.prefix}steps.{name.removeprefix('step.')}.")
        )

    async def settle(self) -> None:
        """Wait until every group has committed all there is, and the rows are written.

        Raises:
            AssertionError: a group stands still; says where.
        """
        left = await self._uncommitted_ends()
        until = asyncio.get_running_loop().time() + COMMIT_S
        while left and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.3)
            left = await self._uncommitted_ends()
        assert not left, f"not committed after {COMMIT_S} s: {left}"

    async def check(self, load: Load) -> Statistics:
        """Let the checker judge everything since the system's start."""
        await self.settle()
        statistics = await self.running.check(load.ids, quiet=True)
        print(f"{statistics} {self.blows[-3:]} extra calls: {self.extra_calls(load)}")
        return statistics

    def extra_calls(self, load: Load) -> int:
        """Calls of services beyond the first of each attempt."""
        counts: Counter[str] = self.running.calls_by_key(load.ids)
        return sum(counts.values()) - len(counts)

    async def _read_up(self) -> None:
        """Wait until the watch has read what is there now."""
        ends = await read_ends(self.running.bootstrap, self.watch.topics)
        await self.watch.until(
            lambda: all(self.watch.reached.get(place, 0) >= end for place, end in ends.items()),
            timeout_s=COMMIT_S,
        )

    async def _uncommitted_ends(self) -> list[str]:
        committed = await read_committed(self.running.bootstrap, self.prefix)
        inputs = dict.fromkeys(self.running.topics.router_inputs, self.form.partitions)
        ends = await read_ends(self.running.bootstrap, {**self.watch.topics, **inputs})
        return [
            f"{topic}[{partition}]: {stands} of {end}"
            for (topic, partition), end in ends.items()
            if (stands := committed.get((self._reader_of(topic), topic, partition), 0)) < end
        ]

    def _reader_of(self, topic: str) -> str:
        if topic.startswith(f"{self.prefix}steps."):
            return "step." + topic.removeprefix(f"{self.prefix}steps.").rsplit(".", 2)[0]
        return "sink" if topic == self.running.topics.task_events else "router"


def load_pause_s(load: Load) -> float:
    """A random moment later: looking must not keep time with commits, nor starve a start."""
    return 0.3 + load.draw()
