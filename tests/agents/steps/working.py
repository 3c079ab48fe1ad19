"""Step workers of a system of their own, on a real Kafka, with a service that obeys the test."""

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from agents.services.client import OnChunk, StepClient, StepRequest, StepResponse
from agents.services.directory import Directory
from agents.services.inline_client import InlineStepClient
from agents.services.settings import ServicesSettings
from agents.step_worker import create_step_worker
from agents.steps.answers import Answers
from agents.steps.attempt import RunnerParts
from agents.steps.cancels import Cancels
from agents.steps.control import ControlFollower
from agents.steps.gate.breaker import BreakerSettings
from agents.steps.gate.flood_guard import FloodGuardSettings
from agents.steps.gate.retry_budget import RetryBudgetSettings
from agents.steps.gate.service_gate import ServiceGate
from agents.steps.gate.service_rules import GateSettings
from agents.steps.past_results import PastResults
from agents.steps.runner import StepRunner
from agents.steps.settings import WorkerSettings
from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.limits import Limits
from schemas.records import (
    CommandId,
    Control,
    ControlKind,
    Json,
    Lane,
    Millis,
    StepCommand,
    StepName,
    StepResult,
    TaskId,
)
from schemas.topics import Topics, TopicsSettings, dlq
from streams.envelopes import command_record, control_record
from streams.kafka.admin import Admin
from streams.kafka.dead_letters import DeadLetters
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Publisher
from streams.runtime.app import App
from streams.settings import KafkaSettings
from tests.streams.building import a_topic, until

STEP = StepName("retrieve")
SERVICE = "retrieval-service"
PARTITIONS = 2
NO_BREAKER = BreakerSettings(errors_percent=100)
_numbers = itertools.count()


class Service(Directory):
    """The only service there is: notes its calls, and answers when it is let."""

    def __init__(self) -> None:
        super().__init__(ServicesSettings())
        self.calls: list[StepRequest] = []
        self.aborted: list[tuple[str, float]] = []
        """Tasks whose call was aborted, and when, on the monotonic clock."""
        self.answers = asyncio.Event()
        self.answers.set()
        self.raises: BaseException | None = None
        self.delay_s = 0.0
        self.response = StepResponse(output=Json("{}"))

    def client(self, service: str) -> StepClient:
        return _Client(self)

    def called(self, task_id: str) -> int:
        """How often a task was called."""
        return sum(call.task_id == task_id for call in self.calls)


class ServiceAtOnce(Service):
    """Answers on the spot, in the worker itself."""

    def client(self, service: str) -> StepClient:
        return InlineStepClient(self.answer, service=service)

    def answer(self, request: StepRequest) -> StepResponse:
        self.calls.append(request)
        if self.raises is not None:
            raise self.raises
        return StepResponse(output=Json("{}"))


class _Client:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        service = self._service
        service.calls.append(request)
        try:
            await asyncio.sleep(service.delay_s)
            await service.answers.wait()
        except asyncio.CancelledError:
            service.aborted.append((request.task_id, time.monotonic()))
            raise
        if service.raises is not None:
            raise service.raises
        return service.response

    async def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """The topics of one step, and what a test does with them."""

    kafka: KafkaSettings
    topics: Topics
    publisher: Publisher
    group: str = field(default_factory=lambda: f"group-{uuid.uuid4()}")

    async def send(self, *commands: StepCommand, lane: Lane = Lane.NORMAL) -> None:
        """Publish commands into a lane; the partition follows from the task."""
        await self.publisher.publish(
            [command_record(self.topics, partition_of(c.task_id), c, lane, {}) for c in commands]
        )

    async def control(self, task_id: str, kind: ControlKind = ControlKind.CANCEL) -> None:
        """Tell all workers to stop a task's first run."""
        control = Control(kind=kind, task_id=TaskId(task_id), run=1, at=now())
        await self.publisher.publish([control_record(self.topics, control, {})])

    async def records(self, topic: str) -> list[Origin]:
        """All records of a topic."""
        found: list[Origin] = []
        async with LogReader(self.kafka, client_id="test") as reader:
            for partition in range(PARTITIONS):
                first, end = await reader.bounds(topic, partition)
                async for records in reader.read(topic, partition, first, end):
                    found += records
        return found

    async def results(self) -> list[StepResult]:
        """All results, without what only says that an attempt runs."""
        records = await self.records(self.topics.step_results)
        found = [decode(record.value, StepResult, max_bytes=1_000_000) for record in records]
        return [result for result in found if result.kind != "started"]

    async def results_of(self, count: int) -> list[StepResult]:
        """Wait until there are so many results."""
        async with asyncio.timeout(30):
            while len(results := await self.results()) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return results

    async def committed(self, lane: Lane = Lane.NORMAL) -> int:
        """How many commands of a lane are committed, in all partitions."""
        topic = self.topics.step(STEP, lane)
        async with Admin(self.kafka) as admin:
            found = await admin.committed(self.group, [(topic, p) for p in range(PARTITIONS)])
        return sum(found.values())


@asynccontextmanager
async def a_site(kafka: KafkaSettings) -> AsyncIterator[Site]:
    """New topics for one step."""
    topics = Topics(TopicsSettings(prefix=f"w{uuid.uuid4().hex[:8]}.", partitions=PARTITIONS))
    names = [*topics.lanes(STEP), topics.step_results, *map(dlq, topics.lanes(STEP))]
    table = [*(a_topic(name, PARTITIONS) for name in names), a_topic(topics.control, 1)]
    table.append(a_topic(topics.stream, PARTITIONS))
    async with Admin(kafka) as admin:
        await admin.apply(table)
    publisher = Publisher(kafka, client_id="test")
    await publisher.open()
    yield Site(kafka=kafka, topics=topics, publisher=publisher)
    await publisher.close()


@asynccontextmanager
async def a_worker(
    site: Site,
    service: Service,
    *,
    grace_s: float = 0.0,
    probe_every_s: float = 0.5,
    breaker: BreakerSettings = NO_BREAKER,
    retry_budget: RetryBudgetSettings | None = None,
    **settings: Any,
) -> AsyncIterator[App]:
    """A worker that runs until the end of the block, and leaves its group as at SIGTERM."""
    worker = WorkerSettings(**{"slots": 8, **settings})
    async with AsyncExitStack() as stack:
        publisher = Publisher(site.kafka, client_id="worker")
        await publisher.open()
        stack.push_async_callback(publisher.close)
        runner = StepRunner(
            RunnerParts(
                topics=site.topics,
                limits=Limits(),
                publisher=publisher,
                dead_letters=DeadLetters(publisher, group=site.group),
                services=service,
                cancels=Cancels(max_tasks=worker.cancels_max),
                answers=Answers(max_count=worker.answers_max, max_bytes=worker.answers_max_bytes),
                past=PastResults(
                    kafka=site.kafka,
                    topics=site.topics,
                    step=STEP,
                    at_most=worker.answers_max,
                    max_bytes=worker.answers_max_bytes,
                    clock=now,
                ),
                gate=ServiceGate(
                    GateSettings(
                        flood_guard=FloodGuardSettings(window=10, probe_every_s=probe_every_s),
                        breaker=breaker,
                        retry_budget=retry_budget or RetryBudgetSettings(),
                        slots=worker.slots,
                    )
                ),
                worker="a-worker",
                started_after_ms=worker.started_after_ms,
                clock=now,
            )
        )
        control = ControlFollower(
            site.kafka, site.topics.control, runner.stop, client_id="control", max_bytes=1_000_000
        )
        await stack.enter_async_context(control)
        lanes = site.topics.lanes(STEP)
        app = create_step_worker(
            lanes,
            service=SERVICE,
            group=site.group,
            kafka=site.kafka,
            settings=worker,
            runner=runner,
        )
        app.finalize()
        await app.maybe_start()
        stack.push_async_callback(app.stop)
        stack.push_async_callback(app.close, grace_s)
        yield app


def a_command(task_id: str | None = None, *, partition: int = 0, **changes: Any) -> StepCommand:
    """A command of a task in a partition."""
    while task_id is None:
        candidate = f"task_{next(_numbers)}"
        task_id = candidate if partition_of(candidate) == partition else None
    fields: dict[str, Any] = {
        "command_id": CommandId(f"{task_id}/1/{STEP}/1"),
        "task_id": TaskId(task_id),
        "tenant_id": "acme",
        "step": STEP,
        "service": SERVICE,
        "timeout_ms": 30_000,
        "deadline_at": Millis(now() + 60_000),
        "dispatched_at": now(),
    }
    return StepCommand(**(fields | changes))


def partition_of(task_id: str) -> int:
    """Where the test puts a task; real tasks go by murmur2."""
    return int(task_id.removeprefix("task_")) % PARTITIONS


def now() -> Millis:
    return Millis(time.time_ns() // 1_000_000)


async def assigned(*apps: App) -> None:
    """Wait until these share all partitions of the lanes, and read."""
    await until(
        lambda: (
            sum(len(app.consumer.assignment()) for app in apps) == 3 * PARTITIONS
            and all(len(app.consumer.assignment()) > 0 for app in apps)
            and not any(app.rebalancing for app in apps)
        )
    )
