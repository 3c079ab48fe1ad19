"""The traces of running tasks, which their timers continue."""

from schemas.records import TaskId
from streams.envelopes import Trace
from tasks.task import Task

NO_TRACE: Trace = {}
"""The trace of a task whose records carried none."""


class TaskTraces:
    """For each running task the trace headers of its newest event that had some.

    A retry that is due, and a deadline that passes, have no record that could carry a trace.
    """

    def __init__(self) -> None:
        self._by_task: dict[TaskId, Trace] = {}

    def note(self, task: Task, trace: Trace) -> None:
        """Note the trace of an event, and the task after it. An ended task needs none."""
        if task.status.terminal:
            self._by_task.pop(task.task_id, None)
        elif trace:
            self._by_task[task.task_id] = trace

    def of(self, task_id: TaskId) -> Trace:
        """The trace headers of a task; empty if it has none."""
        return self._by_task.get(task_id, NO_TRACE)
