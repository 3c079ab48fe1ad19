"""Counts what each tenant has in a replica's memory. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from schemas.records import TaskId


@dataclass(frozen=True, slots=True)
class _Counted:
    tenant_id: str
    held_bytes: int


class TenantCounts:
    """The tasks that have not ended, and the bytes of those that are held."""

    def __init__(self) -> None:
        self._counted: dict[TaskId, _Counted] = {}
        self._live: Counter[str] = Counter()
        self._held_bytes: Counter[str] = Counter()

    def live_tasks(self, tenant_id: str) -> int:
        """The tenant's tasks that have not ended."""
        return self._live[tenant_id]

    def held_bytes(self, tenant_id: str) -> int:
        """Bytes of input and metadata of the tenant's held tasks."""
        return self._held_bytes[tenant_id]

    def put(self, task_id: TaskId, tenant_id: str, *, held_bytes: int) -> None:
        """Count a task that has not ended, as it is now.

        Args:
            task_id: the task.
            tenant_id: whose it is.
            held_bytes: 0 if the task is not held.
        """
        before = self._counted.get(task_id)
        if before == (counted := _Counted(tenant_id, held_bytes)):
            return
        self.drop(task_id)
        self._counted[task_id] = counted
        self._live[tenant_id] += 1
        if held_bytes:
            self._held_bytes[tenant_id] += held_bytes

    def drop(self, task_id: TaskId) -> None:
        """Do not count a task any more. Idempotent."""
        counted = self._counted.pop(task_id, None)
        if counted is None:
            return
        for counts, amount in ((self._live, 1), (self._held_bytes, counted.held_bytes)):
            counts[counted.tenant_id] -= amount
            if counts[counted.tenant_id] <= 0:
                del counts[counted.tenant_id]
