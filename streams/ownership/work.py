"""The outcome of a batch of inputs: all of it is decided before any of it is done."""

from dataclasses import dataclass, field

from schemas.dead_letter import Failure
from streams.ownership.ports import Arrival, Sealed


@dataclass(slots=True)
class Work:
    """The outcome of deciding one batch, in the order in which it has to be done."""

    refused: list[tuple[Arrival, Failure]] = field(default_factory=list)
    """Done first: inputs that are refused whatever the state is. Dead-lettered before an event can
    make a later input of their topic count as decided."""
    events: list[Sealed] = field(default_factory=list)
    """Done second: appended to the log, and proved to be ours."""
    effects: list[Sealed] = field(default_factory=list)
    """Done third: step commands, broadcasts, dead letters of steps, forwarded inputs."""
    letters: list[tuple[Arrival, Failure]] = field(default_factory=list)
    """Done with the effects: inputs that the state refuses."""
    done: list[Arrival] = field(default_factory=list)
    """Done last: acknowledged."""

    def __bool__(self) -> bool:
        return bool(self.refused or self.events or self.effects or self.letters or self.done)
