"""The coordinator of the routers' group: members, the assignment, committed offsets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.ownership.ports import Committed
from tests.simulation.broker import INPUTS, Broker

NO_GENERATION = -1
"""What a client that was expelled commits with; an empty group takes it."""


@dataclass(slots=True)
class Group:
    """One partition of three topics, assigned to one member at a time."""

    broker: Broker
    generation: int = 0
    members: list[str] = field(default_factory=list)
    assigned: str | None = None
    committed: dict[str, Committed] = field(default_factory=dict)
    highest: dict[str, int] = field(default_factory=lambda: dict.fromkeys(INPUTS, 0))
    """The highest offset that ever was committed: nobody promised to deliver below it again."""

    def join(self, member: str) -> None:
        self.members.append(member)
        self.rebalance()

    def leave(self, member: str) -> None:
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def rebalance(self) -> None:
        """A new generation; the same member may be assigned again."""
        self.generation += 1
        self.assigned = self.broker.rng.choice(self.members) if self.members else None
        self.broker.trace.add(
            self.broker.now, "GROUP generation", self.generation, "assigned to", self.assigned
        )

    def commit(
        self, member: str, generation: int, offsets: Mapping[str, int], epoch: int | None
    ) -> bool:
        """Accept offsets of a member of this generation; of anybody while there are none."""
        ours = member in self.members and generation == self.generation
        accepted = ours or (generation == NO_GENERATION and not self.members)
        if accepted:
            self.committed.update({t: Committed(offset, epoch) for t, offset in offsets.items()})
            for topic, offset in offsets.items():
                self.highest[topic] = max(self.highest[topic], offset)
        self.broker.trace.add(
            self.broker.now, member, "COMMITS", _brief(offsets), "epoch", epoch,
            "generation", generation,
            "accepted" if accepted else "refused",
        )  # fmt: skip
        return accepted


def _brief(offsets: Mapping[str, int]) -> str:
    return str([offsets.get(topic, 0) for topic in INPUTS])
