"""A command about a known task, and its refusal."""

from msgspec import Struct

from schemas.records import EventKind, Millis, TaskCommand, TaskEvent
from tasks.clean import MESSAGE_MAX_CHARS, NAME_MAX_CHARS, storable_or_none
from tasks.deciding.context import Context
from tasks.deciding.event import next_event
from tasks.pipeline import Pipeline
from tasks.task import Task


class OwnedCommand(Struct, frozen=True, kw_only=True):
    """A command that the owner of its task has to answer."""

    task: Task
    command: TaskCommand
    context: Context

    @property
    def occurred_at(self) -> Millis:
        """The time of the event that answers the command."""
        return self.context.occurred_at(self.task)

    @property
    def pipeline(self) -> Pipeline | None:
        """The task's pipeline in the task's version; None if it is no longer loaded."""
        spec = self.task.spec
        return self.context.rules.pipelines.get(spec.pipeline, spec.pipeline_version)

    @property
    def actor(self) -> str | None:
        """The actor of the command, made storable."""
        return storable_or_none(self.command.actor, max_chars=NAME_MAX_CHARS)

    @property
    def reason(self) -> str | None:
        """The actor's reason, made storable."""
        return storable_or_none(self.command.reason, max_chars=MESSAGE_MAX_CHARS)


def refused(owned: OwnedCommand, code: str) -> TaskEvent:
    """The refusal of a command: the state stays as it is, the code is the reason."""
    return next_event(
        owned.task, owned.context, EventKind.COMMAND_REFUSED, actor=owned.actor, reason=code
    )
