"""What is remembered of an ended task, and for how long. Pure."""

import hashlib
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from schemas.records import Json, Millis, TaskSpec, TaskStatus
from tasks.decision import Rules
from tasks.task import Task

_NOTHING = Json("")


def shrunk(task: Task) -> Task:
    """A completed task without its documents, which cannot be requested again.

    The rest is enough to answer duplicates and to refuse commands. A task that failed or was
    cancelled stays whole, so that it can be retried; so does a task that has not ended.
    """
    if task.status is not TaskStatus.COMPLETED or task.content_hash:
        return task
    spec = msgspec.structs.replace(task.spec, input=_NOTHING, metadata=_NOTHING, kept_outputs={})
    return replace(task, spec=spec, outputs={}, output=None, content_hash=content_hash(task.spec))


def content_hash(spec: TaskSpec) -> str:
    """Identify equal requests: SHA-256 of type, input and metadata, hex."""
    asked = msgspec.json.encode((spec.type, spec.input, spec.metadata))
    return hashlib.sha256(asked).hexdigest()


def forgettable_at(task: Task, rules: Rules) -> Millis | None:
    """The time from which a task may be forgotten; None while it has not ended."""
    if not task.status.terminal or task.completed_at is None:
        return None
    completed = task.status is TaskStatus.COMPLETED
    kept_ms = rules.remember_ms if completed else rules.remember_failed_ms
    return Millis(task.completed_at + max(kept_ms, rules.max_timeout_ms))


def inputs_are_settled(task: Task, settled: Mapping[str, int]) -> bool:
    """True if no input that was decided for this task can be delivered again.

    Args:
        task: the task.
        settled: for each input topic, the offset below which no input is delivered again.
    """
    return all(offset < settled.get(topic, 0) for topic, offset in task.decided.items())
