"""All use cases of the service, for any transport."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.api.access.access import Access
from orchestrator.api.access.caller import Caller
from orchestrator.api.letters.actions import LetterActions
from orchestrator.api.letters.lookup import LetterLookup
from orchestrator.api.letters.queries import LetterQueries
from orchestrator.api.letters.replay import LetterReplay
from orchestrator.api.limits.tenants import TenantLimits
from orchestrator.api.replica.parts import Parts
from orchestrator.api.tasks.commands import TaskCommands
from orchestrator.api.tasks.creation import TaskCreation
from orchestrator.api.tasks.explain import TaskExplanations
from orchestrator.api.tasks.histories import TaskHistories
from orchestrator.api.tasks.queries import TaskQueries
from orchestrator.api.tasks.receipt import Answered
from orchestrator.api.tasks.requests import CreateTask
from orchestrator.api.tasks.views.task import TaskView
from orchestrator.api.tasks.watch import TaskWatch


@dataclass(frozen=True, slots=True)
class UseCases:
    """The only layer between the transports and the rest."""

    access: Access
    tenants: TenantLimits
    queries: TaskQueries
    histories: TaskHistories
    explanations: TaskExplanations
    creation: TaskCreation
    commands: TaskCommands
    watch: TaskWatch
    letters: LetterQueries
    letter_actions: LetterActions
    letter_replay: LetterReplay

    async def wait(self, caller: Caller, task_id: str, timeout_s: float) -> TaskView:
        """A task after it has ended; raises as ``TaskQueries.wait``, and when the key ends.

        Raises:
            ApiError: also STREAMS_LIMITED, before the wait; a long wait counts as a stream.
        """
        with self.tenants.wait(caller.tenant_id, timeout_s):
            return await self._wait(caller, task_id, timeout_s)

    async def create_and_wait(
        self, caller: Caller, request: CreateTask, timeout_s: float
    ) -> tuple[Answered, TaskView]:
        """Create a task, and wait as :meth:`wait`; raises also as ``TaskCreation.create``.

        STREAMS_LIMITED is raised before the task is created.
        """
        with self.tenants.wait(caller.tenant_id, timeout_s):
            created = await self.creation.create(caller, request)
            await self.queries.read_back(created.receipt, timeout_s)
            return created, await self._wait(caller, created.task.id, timeout_s)

    async def _wait(self, caller: Caller, task_id: str, timeout_s: float) -> TaskView:
        waiting = self.queries.wait(caller, task_id, timeout_s)
        return await self.access.while_valid(caller, waiting)

    @classmethod
    def of(cls, access: Access, parts: Parts) -> UseCases:
        """Build the use cases on their parts."""
        queries, slots = TaskQueries(parts), parts.tenants
        histories = TaskHistories(queries, slots.reads)
        lookup = LetterLookup(parts, slots.letter_calls)
        return cls(
            access=access,
            tenants=slots,
            queries=queries,
            histories=histories,
            explanations=TaskExplanations(parts.system, histories, slots.explanations),
            creation=TaskCreation(parts, queries),
            commands=TaskCommands(parts, queries),
            watch=TaskWatch(parts, queries),
            letters=LetterQueries(parts, lookup),
            letter_actions=LetterActions(parts, lookup),
            # A replay takes long: it must not keep calls that only read waiting.
            letter_replay=LetterReplay(parts, LetterLookup(parts, slots.replays)),
        )
