"""What became of a create or an order: where its record is, and what its owner answered."""

from dataclasses import dataclass

from orchestrator.api.tasks.views.event import EventView
from orchestrator.api.tasks.views.task import TaskView


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A published record. Without an ``answer`` it is a create, or an order not yet decided."""

    topic: str
    partition: int
    offset: int
    command_id: str | None = None
    """Of an order."""
    answer: EventView | None = None
    """Of an order: the event that it brought about, or the one that refuses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a create or an order is answered with."""

    task: TaskView
    replayed: bool = False
    """True if a create named a task that was there already: nothing was published."""
    receipt: Receipt | None = None
    """None if nothing was published, or the broker did not tell where."""
