"""An owner behind Faust: takes deliveries, and makes way for a new owner when it is deposed."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence

from streams.inbound import Inbound
from streams.ownership.kafka_world import KafkaArrival, KafkaWorld, WorldParts
from streams.ownership.owner import Owner
from streams.ownership.parts import OwnerParts
from streams.runtime.delivery import Delivery

Pause = Callable[[str, int, bool], None]
"""Stops (True) or resumes (False) the reading of a topic's partition."""


class OwnedPartition:
    """One partition of the router. A ``PartitionHandler``."""

    def __init__(
        self,
        partition: int,
        parts: OwnerParts,
        world: WorldParts,
        *,
        pause: Pause,
        epochs: MutableMapping[int, int],
    ) -> None:
        self._partition = partition
        self._commands = parts.topics.task_commands
        self._inbound = Inbound(parts.topics, parts.rules.limits)
        self._owner = Owner(partition, parts, KafkaWorld(partition, world))
        self._pause = pause
        self._epochs = epochs
        self._paused = False

    async def open(self) -> None:
        """Take the partition over; from then on its offsets are committed with the new epoch."""
        await self._owner.open()
        self._epochs[self._partition] = self._owner.epoch

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Decide the deliveries that are still ours; pause reading commands while too many wait."""
        await self._owner.handle(
            [KafkaArrival(d, self._inbound) for d in deliveries if not d.stale()]
        )
        if self._owner.full is not self._paused:
            self._paused = self._owner.full
            self._pause(self._commands, self._partition, self._paused)

    def unfinished(self) -> list[Delivery]:
        """The deliveries that a deposed owner has not acknowledged."""
        if self._paused:
            self._pause(self._commands, self._partition, False)
        return [a.delivery for a in self._owner.unfinished() if isinstance(a, KafkaArrival)]

    def wakeup_s(self) -> float | None:
        """Seconds until the owner has something to do without an input."""
        return self._owner.wakeup_s()
