"""What an owner knows of its tasks: those that run are at hand, those that ended are put away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from schemas.records import Millis, TaskId
from streams.ownership.ended_tasks import EndedTasks
from tasks.decision import Rules
from tasks.remember import forgettable_at, shrunk
from tasks.task import Task


class TaskMemory(Mapping[TaskId, Task]):
    """All tasks of a partition that are not forgotten.

    A task that ended is asked for now and then only, for a day or for months, and there may be
    millions: they go to a file. So the memory of the process grows with the tasks that run.

    Raises:
        sqlite3.Error: see :class:`~streams.ownership.ended_tasks.EndedTasks`.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._at_hand: dict[TaskId, Task] = {}
        self._away = EndedTasks()

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
        """Remember a task's newest state, without what nobody can ask for any more."""
        # A task that has just begun was nowhere.
        if task.sequence > 1 and task.task_id not in self._at_hand:
            self._away.remove(task.task_id)
        self._at_hand[task.task_id] = shrunk(task)

    def forget(self, task_id: TaskId) -> None:
        """Let go of a task that is here."""
        if self._at_hand.pop(task_id, None) is None:
            self._away.remove(task_id)

    def put_away(self) -> None:
        """Put what ended into the file."""
        ended = self._ended_at_hand()
        self._away.add(ended)
        for task, _ in ended:
            del self._at_hand[task.task_id]

    def forgettable(self, now: Millis) -> list[Task]:
        """The tasks whose time to be forgotten has come; of very many, the first ones."""
        at_hand = [task for task, at in self._ended_at_hand() if at <= now]
        return at_hand + self._away.forgettable(now)

    def _ended_at_hand(self) -> list[tuple[Task, Millis]]:
        """With the times from which on they may be forgotten."""
        return [
            (task, at)
            for task in self._at_hand.values()
            if (at := forgettable_at(task, self._rules)) is not None
        ]
