"""Finds a task and its history: one order of sources for the service and for ``--direct``.

The two differ in where they look for a task that Postgres may not have (yet). A replica has the
logs in memory; ``--direct`` reads the logs. Each passes its place in as a :class:`TaskSource`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from orchestrator.api.replica.live_task import AcceptedTask, Folded
from orchestrator.api.tasks.errors import CreationRefusedError, TaskExpiredError, TaskUnknownError
from orchestrator.api.tasks.history import TaskHistory, history_of_creation, history_of_log
from orchestrator.api.tasks.sources import TaskRows, logged_history, stored_history
from schemas.records import TaskEvent, TaskId
from sinks.errors import SinkUnavailableError
from sinks.reads.stored import StoredTask


class BegunTask(Protocol):
    """A task about which its owner has decided, as a source knows it."""

    @property
    def task_id(self) -> TaskId:
        """Its id."""
        ...

    @property
    def sequence(self) -> int:
        """The sequence of the last known event; 0 if no event is known."""
        ...

    @property
    def whole(self) -> bool:
        """True if the source has the task's history; otherwise a part of it is elsewhere."""
        ...

    def events(self, after: int) -> Sequence[TaskEvent]:
        """The known events with a later sequence."""
        ...

    def folded(self) -> Folded:
        """The state of the task; only if the source has a beginning of it."""
        ...


Begun = TypeVar("Begun", bound=BegunTask)
Begun_co = TypeVar("Begun_co", bound=BegunTask, covariant=True)


@dataclass(frozen=True, slots=True)
class RefusedCreation:
    """The answer to a creation that became a dead letter."""

    code: str
    message: str


class TaskSource(Protocol[Begun_co]):
    """Where a task is that Postgres may not have (yet).

    Every method may raise ``KafkaUnavailableError``: nothing was changed, ask again.
    """

    async def look(self, task_id: TaskId, tenant_id: str | None) -> Begun_co | AcceptedTask | None:
        """The task, if the source has it at hand; of this tenant, or with None of any."""
        ...

    async def look_again(
        self, task_id: TaskId, tenant_id: str | None
    ) -> Begun_co | AcceptedTask | RefusedCreation | None:
        """The task after :meth:`look` and Postgres did not have it, up to the ends of the logs.

        Args:
            task_id: the task.
            tenant_id: whose task, and whose refused creation; None: of any tenant.
        """
        ...

    async def may_have_forgotten(self, task_id: TaskId) -> bool:
        """True if the source relied on rows of this task's partition that Postgres lacks now.

        May raise ``SinkUnavailableError``.
        """
        ...

    async def events(self, task_id: TaskId, tenant_id: str | None) -> Sequence[TaskEvent]:
        """The accepted events of the current life that the log still has, for a task not whole.

        Args:
            task_id: the task.
            tenant_id: the tenant whose share of such reads this is; None: nobody counts.
        """
        ...


class StoredTasks(TaskRows, Protocol):
    """The tasks in Postgres. Every method may raise ``SinkUnavailableError``."""

    async def task(self, task_id: TaskId, tenant_id: str | None = None) -> StoredTask | None:
        """One task, of this tenant or of any; the newest life of its id."""
        ...


class TaskFinder(Generic[Begun]):
    """Asks the source, then Postgres, then the source again up to the ends of the logs."""

    def __init__(self, source: TaskSource[Begun], stored: StoredTasks) -> None:
        self._source = source
        self._stored = stored

    async def find(
        self, task_id: TaskId, tenant_id: str | None = None
    ) -> Begun | AcceptedTask | StoredTask:
        """Find a task. Postgres may be down while the source has the task.

        A task of another tenant is looked for as if it did not exist, in the same order of steps,
        so that the time of the answer shows nothing either.

        Args:
            task_id: the task.
            tenant_id: as for :meth:`TaskSource.look_again`.

        Raises:
            TaskUnknownError: neither the logs nor Postgres knows the task.
            CreationRefusedError: its creation is a dead letter.
            SinkUnavailableError: Postgres may know it, but did not answer, or lacks what it held
                before; ask again later.
            KafkaUnavailableError: the logs could not be read; ask again later.
        """
        if (known := await self._source.look(task_id, tenant_id)) is not None:
            return known
        away: SinkUnavailableError | None = None
        try:
            if (row := await self._stored.task(task_id, tenant_id)) is not None:
                return row
        except SinkUnavailableError as error:
            away = error
        again = await self._source.look_again(task_id, tenant_id)
        if again is not None and not isinstance(again, RefusedCreation):
            return again
        if away is None:
            # Asked before the row is: Postgres may catch up in between.
            forgotten = await self._source.may_have_forgotten(task_id)
            # It may have been written, and dropped from memory, since the first look.
            if (row := await self._stored.task(task_id, tenant_id)) is not None:
                return row
            if forgotten:
                away = SinkUnavailableError("Postgres lacks what it held before")
        if again is not None:
            raise CreationRefusedError(again.code, again.message)
        if away is not None:
            raise away
        raise TaskUnknownError(f"there is no task {task_id}")

    async def history(
        self, known: Begun | AcceptedTask | StoredTask, tenant_id: str | None = None
    ) -> TaskHistory:
        """The history of a task that :meth:`find` returned.

        Args:
            known: the task.
            tenant_id: as for :meth:`TaskSource.events`.

        Raises:
            TaskExpiredError: the log no longer holds the whole task, and Postgres does not
                answer, or does not have it either.
            SinkUnavailableError: the task is in Postgres, which did not answer; ask again later.
            KafkaUnavailableError: the log could not be read; ask again later.
        """
        if isinstance(known, AcceptedTask):
            return history_of_creation(known.record())
        if isinstance(known, StoredTask):
            return await stored_history(self._stored, known)
        if known.whole:
            return history_of_log(known.folded(), known.events(0))
        return await self._completed(known, tenant_id)

    async def _completed(self, known: Begun, tenant_id: str | None) -> TaskHistory:
        """The history of a task whose first events the source does not have."""
        # Taken before the first await: the task may go on meanwhile.
        task_id, sequence = known.task_id, known.sequence
        away: SinkUnavailableError | None = None
        try:
            row = await self._stored.task(task_id)
            if row is not None and row.sequence >= sequence:
                return await stored_history(self._stored, row)
        except SinkUnavailableError as error:
            away = error
        if (found := logged_history(await self._source.events(task_id, tenant_id))) is not None:
            return found
        message = f"the log no longer holds all of {task_id}, and Postgres has no answer"
        raise TaskExpiredError(message) from away
