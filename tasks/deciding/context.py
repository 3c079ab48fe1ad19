"""The values that every rule needs besides the task and the record."""

from msgspec import Struct

from schemas.records import Millis
from tasks.decision import Rules
from tasks.inputs import Cause
from tasks.task import Task


class Context(Struct, frozen=True, kw_only=True):
    """The circumstances of one decision."""

    cause: Cause
    now: Millis
    """The owner's clock, which deadlines and due times are compared with."""
    jitter: float
    """A draw from ``[0, 1)``."""
    rules: Rules

    def occurred_at(self, task: Task | None) -> Millis:
        """The time of the event: now, but never before the task's last event.

        An owner's clock may be behind its predecessor's; a task's history still runs forward.
        """
        return self.now if task is None else max(self.now, task.updated_at)
