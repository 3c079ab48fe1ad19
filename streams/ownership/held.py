"""Commands that came before their task: they wait, in order, for a while. Pure."""

from collections import deque
from dataclasses import dataclass

from schemas.records import Millis, TaskId
from streams.ownership.ports import Arrival
from tasks.inputs import Commanded


@dataclass(slots=True)
class HeldCommand:
    """A command for a task that does not exist yet."""

    arrival: Arrival
    given: Commanded
    expires_at: Millis
    created_end: int | None = None
    """The end of ``task-created`` when the command came: every create from before the command
    lies below. None until the end was asked for."""


class HeldCommands:
    """The held commands of one partition.

    A command is decided when its task is created. It is given up when its time has passed
    *and* ``task-created`` was read up to the end that it had when the command came.
    """

    def __init__(self, *, hold_ms: int, at_most: int) -> None:
        self._hold_ms = hold_ms
        self._at_most = at_most
        self._by_task: dict[TaskId, deque[HeldCommand]] = {}
        self._in_order: deque[HeldCommand] = deque()
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self._in_order) - len(self._gone)

    @property
    def full(self) -> bool:
        """True if reading further commands should pause."""
        return len(self) >= self._at_most

    def add(self, arrival: Arrival, given: Commanded, now: Millis) -> None:
        """Hold a command; the commands of one task keep their order."""
        held = HeldCommand(arrival, given, Millis(now + self._hold_ms))
        self._by_task.setdefault(given.record.task_id, deque()).append(held)
        self._in_order.append(held)

    @property
    def unknown_end(self) -> bool:
        """True if the end of ``task-created`` is missing for some command."""
        return bool(self._in_order) and self._in_order[-1].created_end is None

    def set_created_end(self, end: int) -> None:
        """Set the end of ``task-created`` for the commands that came since the last call."""
        for held in reversed(self._in_order):
            if held.created_end is not None:
                return
            held.created_end = end

    def release(self, task_id: TaskId) -> list[HeldCommand]:
        """Remove and return the commands of a task that is known now, in their order."""
        released = list(self._by_task.pop(task_id, ()))
        self._gone.update(id(held) for held in released)
        self._trim()
        return released

    def next_at(self) -> Millis | None:
        """When the oldest command expires, Unix milliseconds; None if no command waits."""
        return self._in_order[0].expires_at if self._in_order else None

    def wanted_created_end(self, now: Millis) -> int | None:
        """Up to where ``task-created`` must be read before the oldest command may be given up.

        None if the command's time has not passed.
        """
        if not self._in_order or self._in_order[0].expires_at > now:
            return None
        return self._in_order[0].created_end

    def expire(self, now: Millis, created_read_to: int) -> list[HeldCommand]:
        """Remove and return the commands whose wait is over, oldest first."""
        expired = []
        while self._in_order:
            first = self._in_order[0]
            unread = first.created_end is None or first.created_end > created_read_to
            if first.expires_at > now or unread:
                break
            self._in_order.popleft()
            waiting = self._by_task[first.given.record.task_id]
            waiting.popleft()
            if not waiting:
                del self._by_task[first.given.record.task_id]
            expired.append(first)
            self._trim()
        return expired

    def _trim(self) -> None:
        while self._in_order and id(self._in_order[0]) in self._gone:
            self._gone.discard(id(self._in_order.popleft()))
