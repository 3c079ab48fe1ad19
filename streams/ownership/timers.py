"""The timers of one partition: due retries and deadlines. Pure."""

import heapq

from schemas.records import Millis, TaskId
from tasks.task import Task

_SWEEP_MIN = 1_000


class Timers:
    """A heap of times, rebuilt from task state.

    An entry is only a reminder: its reader looks at the task to see what is due, so outdated
    entries do no harm. Entries of ended tasks are removed when they are half of the heap: a task
    takes about a second, and its deadline is minutes away.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Millis, TaskId]] = []
        self._deadlines: dict[TaskId, Millis] = {}
        self._sweep_at = _SWEEP_MIN

    def __len__(self) -> int:
        return len(self._heap)

    def watch(self, task: Task) -> None:
        """Note the times of a task after it changed."""
        if task.status.terminal:
            self._deadlines.pop(task.spec.task_id, None)
            self._sweep()
            return
        if self._deadlines.get(task.spec.task_id) != task.deadline_at:
            self._deadlines[task.spec.task_id] = task.deadline_at
            heapq.heappush(self._heap, (task.deadline_at, task.spec.task_id))
        if task.outstanding is not None and task.outstanding.due_at is not None:
            heapq.heappush(self._heap, (task.outstanding.due_at, task.spec.task_id))

    def next_at(self) -> Millis | None:
        """The earliest time, Unix milliseconds; None if the heap is empty."""
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: Millis) -> list[tuple[Millis, TaskId]]:
        """Remove and return the entries whose time has come, earliest first."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap))
        return due

    def _sweep(self) -> None:
        if len(self._heap) < self._sweep_at:
            return
        self._heap = [entry for entry in self._heap if entry[1] in self._deadlines]
        heapq.heapify(self._heap)
        self._sweep_at = max(_SWEEP_MIN, 2 * len(self._heap))
