"""The result of a create or a command: the position of its record, and its owner's answer."""

from dataclasses import dataclass

from orchestrator.api.tasks.views.event import EventView
from orchestrator.api.tasks.views.task import TaskView


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A published record. Without an ``answer`` it is a create, or a command not decided yet."""

    topic: str
    partition: int
    offset: int
    command_id: str | None = None
    """The id of a command."""
    answer: EventView | None = None
    """The event that a command caused, or the one that refuses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The answer to a create or a command."""

    task: TaskView
    replayed: bool = False
    """True if a create named an existing task: nothing was published."""
    receipt: Receipt | None = None
    """None if nothing was published, or the broker returned no offset."""
