"""An owner's tasks: running ones in memory, ended ones in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from schemas.records import Millis, TaskId
from streams.ownership.ended_tasks import EndedTasks
from tasks.decision import Rules
from tasks.remember import forgettable_at, shrunk
from tasks.task import Phase, Task

LIVE_PHASES = (Phase.HELD, Phase.QUEUED, Phase.STEP_RUNNING, Phase.RETRY_SCHEDULED)
"""The phases of a task that has not ended."""


class TaskMemory(Mapping[TaskId, Task]):
    """All tasks of a partition that are not forgotten.

    An ended task is rarely read, but is kept for a day or for months, and there may be millions:
    ended tasks go to a file. So the memory of the process grows with the running tasks only.

    Raises:
        sqlite3.Error: see :class:`~streams.ownership.ended_tasks.EndedTasks`.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._at_hand: dict[TaskId, Task] = {}
        self._away = EndedTasks()
        self.live: Counter[Phase] = Counter()
        """Tasks that have not ended, by phase."""

    def __len__(self) -> int:
        return len(self._at_hand) + len(self._away)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._at_hand or task_id in self._away

    def __iter__(self) -> Iterator[TaskId]:
        yield from self._at_hand
        yield from self._away

    def __getitem__(self, task_id: TaskId) -> Task:
        task = self._at_hand.get(task_id) or self._away.get(task_id)
        if task is None:
            raise KeyError(task_id)
        return task

    def put(self, task: Task) -> None:
        """Remember a task's newest state, without the parts that are not read any more."""
        before = self._at_hand.get(task.task_id)
        if before is not None and not before.status.terminal:
            self.live[before.phase] -= 1
        if not task.status.terminal:
            self.live[task.phase] += 1
        # A task that has just begun cannot be in the file.
        if task.sequence > 1 and task.task_id not in self._at_hand:
            self._away.remove(task.task_id)
        self._at_hand[task.task_id] = shrunk(task)

    def forget(self, task_id: TaskId) -> None:
        """Remove a task that is here."""
        task = self._at_hand.pop(task_id, None)
        if task is None:
            self._away.remove(task_id)
        elif not task.status.terminal:
            self.live[task.phase] -= 1

    def put_away(self) -> None:
        """Move ended tasks into the file."""
        ended = self._ended_at_hand()
        self._away.add(ended)
        for task, _ in ended:
            del self._at_hand[task.task_id]

    def forgettable(self, now: Millis) -> list[Task]:
        """The tasks that may be forgotten now; the first ones if there are very many."""
        at_hand = [task for task, at in self._ended_at_hand() if at <= now]
        return at_hand + self._away.forgettable(now)

    def _ended_at_hand(self) -> list[tuple[Task, Millis]]:
        """Ended tasks in memory, with the times from which they may be forgotten."""
        return [
            (task, at)
            for task in self._at_hand.values()
            if (at := forgettable_at(task, self._rules)) is not None
        ]
