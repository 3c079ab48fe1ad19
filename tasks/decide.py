"""Decide: the table of rules. Pure; every decision about a task is made here.

| input       | rule                      |
|-------------|---------------------------|
| Created     | ``deciding/created.py``   |
| Commanded   | ``deciding/commanded.py`` |
| Reported    | ``deciding/reported.py``  |
| DeadlineDue | ``deciding/deadline.py``  |
"""

from schemas.records import Millis
from tasks.deciding.commanded import on_commanded
from tasks.deciding.context import Context
from tasks.deciding.created import on_created
from tasks.deciding.deadline import on_deadline
from tasks.deciding.reported import on_reported
from tasks.decision import Accepted, Decision, Ignored, Rejected, Rules
from tasks.inputs import NO_CAUSE, Cause, Commanded, Created, DeadlineDue, Input, Reported
from tasks.task import Task

__all__ = ["Accepted", "Decision", "Ignored", "Rejected", "Rules", "decide"]


def decide(
    task: Task | None, given: Input, *, now: Millis, jitter: float, rules: Rules
) -> Decision:
    """Decide what an input means for a task.

    Never raises for a record that could be decoded, whatever it contains. An input that is decided
    again after its event was applied is a ``duplicate``.

    Args:
        task: the state with all accepted events applied; None if the task does not exist.
        given: the input, whose task id is the task's.
        now: the owner's clock, Unix time in milliseconds.
        jitter: a draw from ``[0, 1)`` for the delay of a retry.
        rules: pipelines and limits.
    """
    cause = NO_CAUSE if isinstance(given, DeadlineDue) else given.cause
    if _decided_before(task, cause):
        return Ignored("duplicate")
    context = Context(cause=cause, now=now, jitter=jitter, rules=rules)
    match given:
        case Created():
            return on_created(task, given.record, context)
        case Commanded():
            return on_commanded(task, given.record, context)
        case Reported():
            return on_reported(task, given.record, context)
        case DeadlineDue():
            return on_deadline(task, context)


def _decided_before(task: Task | None, cause: Cause) -> bool:
    """True for a redelivered input: a task's inputs of a topic are decided in offset order."""
    if task is None:
        return False
    last = task.decided.get(cause.topic)
    return last is not None and cause.offset <= last
