"""The stopped runs of tasks, kept while a command of such a run may still come. Pure."""

from schemas.records import Control, Millis, TaskId

KEPT_MS = 24 * 3_600_000
"""The longest timeout of a task: after that its commands are past their deadline anyway."""


class Cancels:
    """Remembers for each task the control record of its highest run.

    Args:
        max_tasks: above this number the oldest are forgotten. A command of a forgotten one is
            executed, and its result is not applied: a waste, not an error.
    """

    def __init__(self, *, max_tasks: int) -> None:
        self._max_tasks = max_tasks
        self._by_task: dict[TaskId, Control] = {}
        """In order of arrival, which is roughly the order of their times."""

    def __len__(self) -> int:
        return len(self._by_task)

    def remember(self, control: Control, now: Millis) -> None:
        """Take a control record; a record that is too old to matter is ignored."""
        known = self._by_task.get(control.task_id)
        if not _expired(control, now) and (known is None or control.run >= known.run):
            self._by_task.pop(control.task_id, None)
            self._by_task[control.task_id] = control
        self._forget(now)

    def find(self, task_id: TaskId, run: int) -> Control | None:
        """The control record that stopped this run of a task, or a later run; otherwise None."""
        control = self._by_task.get(task_id)
        return control if control is not None and stops(control, task_id, run) else None

    def _forget(self, now: Millis) -> None:
        while self._by_task:
            task_id, oldest = next(iter(self._by_task.items()))
            if len(self._by_task) <= self._max_tasks and not _expired(oldest, now):
                break
            del self._by_task[task_id]


def stops(control: Control, task_id: TaskId, run: int) -> bool:
    """Whether a control record stops this run of this task: it stops the earlier runs, too."""
    return control.task_id == task_id and run <= control.run


def _expired(control: Control, now: Millis) -> bool:
    return control.at + KEPT_MS < now
