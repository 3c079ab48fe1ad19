"""When a task that ended leaves the memory. Pure."""

import heapq
from collections.abc import Mapping

from schemas.records import Millis, TaskId
from tasks.decision import Rules
from tasks.remember import forgettable_at, inputs_are_committed
from tasks.task import Task


class Forgetting:
    """A heap of times at which ended tasks may be forgotten.

    An entry is only a reminder: a task that was retried since is passed over.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._heap: list[tuple[Millis, TaskId]] = []

    def watch(self, task: Task) -> None:
        """Note when a task may be forgotten, if it has ended."""
        at = forgettable_at(task, self._rules)
        if at is not None:
            heapq.heappush(self._heap, (at, task.task_id))

    def take_due(self, now: Millis, tasks: Mapping[TaskId, Task]) -> list[Task]:
        """The tasks whose time has come, each once."""
        due: dict[TaskId, Task] = {}
        while self._heap and self._heap[0][0] <= now:
            _, task_id = heapq.heappop(self._heap)
            task = tasks.get(task_id)
            at = None if task is None else forgettable_at(task, self._rules)
            if task is not None and at is not None and at <= now:
                due[task_id] = task
        return list(due.values())

    def allows(self, task: Task, confirmed: Mapping[str, int]) -> bool:
        """True if no input of the task can be delivered again, by the broker's word."""
        return inputs_are_committed(task, confirmed)
