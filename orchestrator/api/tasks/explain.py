"""The use case that explains why a task does not go on, and its questions to Kafka."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from orchestrator.api.access.caller import Caller
from orchestrator.api.limits.slots import TenantSlots
from orchestrator.api.tasks.explanation import ExplanationView, Readers, explained, last_attempt
from orchestrator.api.tasks.histories import TaskHistories
from orchestrator.api.tasks.history import TaskHistory
from orchestrator.layout import ROUTER, SINK, STEP_PREFIX
from orchestrator.settings import Settings
from schemas.records import Lane, StepName
from schemas.topics import Topics
from streams.errors import KafkaUnavailableError
from streams.kafka.group_reading import group_readings
from streams.kafka.partitioner import partition_of

_ASK_S = 10.0


class TaskExplanations:
    """Explains tasks of a caller's tenant."""

    def __init__(self, system: Settings, histories: TaskHistories, slots: TenantSlots) -> None:
        self._system = system
        self._histories = histories
        self._slots = slots

    async def explain(self, caller: Caller, task_id: str) -> ExplanationView:
        """Why a task is where it is.

        Raises:
            ApiError: as for a task's history; WORK_LIMITED: too many explanations run and wait.
        """
        history = await self._histories.history(caller, task_id)
        async with self._slots.of(caller.tenant_id):
            return await explain(self._system, history)


async def explain(system: Settings, history: TaskHistory) -> ExplanationView:
    """Explain a task whose history is known; ask Kafka who reads its records. Bounded.

    While Kafka does not answer, the explanation says so.
    """
    try:
        async with asyncio.timeout(_ASK_S):
            readers = await _readers(system, history)
    except (KafkaUnavailableError, TimeoutError):
        readers = None
    return explained(history, readers, now=datetime.now(UTC))


async def _readers(system: Settings, history: TaskHistory) -> Readers:
    topics, prefix = Topics(system.topics), system.topics.prefix
    partition = partition_of(history.task.id.encode(), system.topics.partitions)
    router, sink = prefix + ROUTER, prefix + SINK
    groups = {
        router: [(topic, partition) for topic in topics.router_inputs],
        sink: [(topics.task_events, partition)],
    }
    attempt, step = last_attempt(history), ""
    if attempt is not None:
        step = prefix + STEP_PREFIX + attempt.step.name
        lane = Lane(attempt.lane or Lane.NORMAL)
        groups[step] = [(topics.step(StepName(attempt.step.name), lane), partition)]
    client_id = f"{system.kafka.client_id}-explain"
    found = await group_readings(system.kafka, groups, client_id=client_id)
    return Readers(router=found[router], sink=found[sink], step=found.get(step))
