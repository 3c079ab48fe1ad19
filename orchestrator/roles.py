"""The composition root: builds each role's application from the settings."""

from __future__ import annotations

import os
import random
import socket
from contextlib import AsyncExitStack
from functools import partial

import structlog
from prometheus_client import REGISTRY

from agents.dlq_index import create_dlq_index
from agents.letters.parts import IndexerParts
from agents.projection.counts_export import CountsExport
from agents.projection.projector import ProjectorParts
from agents.router import create_router
from agents.services.directory import Directory
from agents.sink import create_sink
from agents.step_worker import create_step_worker
from agents.steps.answers import Answers
from agents.steps.attempt import RunnerParts
from agents.steps.cancels import Cancels
from agents.steps.control import ControlFollower
from agents.steps.gate.service_gate import ServiceGate
from agents.steps.gate.service_rules import GateSettings
from agents.steps.past_results import PastResults
from agents.steps.runner import StepRunner
from orchestrator.checks import log_findings
from orchestrator.layout import DLQ_INDEX, ROUTER, SINK, STEP_PREFIX, rules_of, topic_table
from orchestrator.settings import Settings
from schemas.findings import Finding, described, fatal
from schemas.records import StepName
from schemas.topics import DLQ_PREFIX, Topics
from sinks.counts.collector import CountsCollector
from sinks.errors import PostgresRefusedError, SinkUnavailableError
from sinks.letters.writer import DeadLetterWriter
from sinks.waiting import WaitLog, when_taken
from sinks.writer import Writer
from streams.clock import now_ms
from streams.health import Health
from streams.kafka.broker_clock import BrokerClock
from streams.kafka.dead_letters import DeadLetters
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Publisher
from streams.ownership.kafka_world import WorldParts
from streams.ownership.parts import OwnerParts
from streams.runtime.app import App
from tasks.pipeline import Pipelines

log = structlog.get_logger()


async def built_role(
    role: str, settings: Settings, pipelines: Pipelines, health: Health
) -> tuple[App, AsyncExitStack]:
    """The application of a role, and the resources to be closed after it.

    Args:
        role: its name.
        settings: of the system.
        pipelines: their steps have roles.
        health: gets the parts of the role that can be not ready.

    Raises:
        KafkaUnavailableError: no broker answers; nothing is left open.
        MigrationError: the sink or the dead-letter index needs a migration that was not applied.
        PostgresRefusedError: their server, database or account cannot be used.
    """
    composition = _Composition(settings, pipelines, role, health)
    async with AsyncExitStack() as resources:
        if role == ROUTER:
            app = await composition.router(resources)
        elif role == SINK:
            app = await composition.sink(resources)
        elif role == DLQ_INDEX:
            app = await composition.dlq_index(resources)
        else:
            step = StepName(role.removeprefix(STEP_PREFIX))
            app = await composition.step_worker(step, resources)
        return app, resources.pop_all()


class _Composition:
    """Builds the parts of one role. The stack closes everything that is opened."""

    def __init__(self, settings: Settings, pipelines: Pipelines, role: str, health: Health) -> None:
        self._health = health
        self._settings = settings
        self._pipelines = pipelines
        self._topics = Topics(settings.topics)
        self._group = settings.topics.prefix + role
        self._client_id = f"{settings.kafka.client_id}-{role}"

    async def router(self, resources: AsyncExitStack) -> App:
        settings, publisher = self._settings, await self._publisher(resources)
        inputs = LogReader(settings.kafka, client_id=f"{self._client_id}-ends")
        logs = LogReader(settings.kafka, client_id=f"{self._client_id}-logs", committed=False)
        return create_router(
            OwnerParts(
                topics=self._topics,
                rules=rules_of(settings, self._pipelines),
                settings=settings.router,
                clock=now_ms,
                jitter=random.random,
            ),
            WorldParts(
                group=self._group,
                kafka=settings.kafka,
                topics=self._topics,
                limits=settings.limits,
                publisher=publisher,
                dead_letters=DeadLetters(publisher, group=self._group),
                clock=BrokerClock(publisher, self._topics.task_state),
                inputs=await resources.enter_async_context(inputs),
                logs=await resources.enter_async_context(logs),
            ),
        )

    async def sink(self, resources: AsyncExitStack) -> App:
        publisher = await self._publisher(resources)
        writer = Writer(self._settings.postgres)
        wait_log = await self._open_when_there(writer)
        resources.push_async_callback(writer.close)
        return create_sink(
            ProjectorParts(
                group=self._group,
                kafka=self._settings.kafka,
                topics=self._topics,
                limits=self._settings.limits,
                writer=writer,
                dead_letters=DeadLetters(publisher, group=self._group),
                hold_s=self._settings.postgres.hold_ms / 1000,
                waits=wait_log,
            ),
            await self._counts_export(writer, resources),
        )

    async def _counts_export(self, writer: Writer, resources: AsyncExitStack) -> CountsExport:
        collector = CountsCollector()
        REGISTRY.register(collector)
        resources.callback(REGISTRY.unregister, collector)
        every_s = self._settings.postgres.counts_every_s
        export = CountsExport(writer, collector, every_s=every_s)
        await resources.enter_async_context(export.running())
        return export

    async def dlq_index(self, resources: AsyncExitStack) -> App:
        settings, publisher = self._settings, await self._publisher(resources)
        table = {topic.name: topic.partitions for topic in topic_table(settings, self._pipelines)}
        writer = DeadLetterWriter(settings.postgres)
        wait_log = await self._open_when_there(writer)
        resources.push_async_callback(writer.close)
        return create_dlq_index(
            IndexerParts(
                group=self._group,
                kafka=settings.kafka,
                topics=self._topics,
                dlq_topics=[name for name in table if name.startswith(DLQ_PREFIX)],
                partitions=table,
                writer=writer,
                publisher=publisher,
                dead_letters=DeadLetters(publisher, group=self._group),
                waits=wait_log,
            )
        )

    async def step_worker(self, step: StepName, resources: AsyncExitStack) -> App:
        service = self._pipelines.services[step]
        services = Directory(self._settings.services, self._pipelines.tool_methods)
        services.check(self._pipelines.services_of(step))
        resources.push_async_callback(services.close)
        publisher = await self._publisher(resources)
        worker, kafka, limits = self._settings.worker, self._settings.kafka, self._settings.limits
        gate = ServiceGate(
            GateSettings(
                flood_guard=self._settings.flood_guard,
                breaker=self._settings.breaker,
                retry_budget=self._settings.retry_budget,
                slots=worker.slots,
            )
        )
        self._health.add("service", gate.paused)
        hedge_after_ms = self._pipelines.hedge_after_ms(step)
        runner = StepRunner(
            RunnerParts(
                topics=self._topics,
                limits=limits,
                publisher=publisher,
                dead_letters=DeadLetters(publisher, group=self._group),
                services=services,
                cancels=Cancels(max_tasks=worker.cancels_max),
                answers=Answers(max_count=worker.answers_max, max_bytes=worker.answers_max_bytes),
                past=PastResults(
                    kafka=kafka,
                    topics=self._topics,
                    step=step,
                    at_most=worker.answers_max,
                    max_bytes=worker.answers_max_bytes,
                    clock=now_ms,
                ),
                gate=gate,
                worker=f"{socket.gethostname()}-{os.getpid()}",
                started_after_ms=worker.started_after_ms,
                hedge_after_s=None if hedge_after_ms is None else hedge_after_ms / 1000,
                clock=now_ms,
            )
        )
        # The whole topic is read before the first command.
        follower = ControlFollower(
            kafka,
            self._topics.control,
            runner.stop,
            client_id=f"{self._client_id}-control",
            max_bytes=limits.record_max_bytes,
        )
        await resources.enter_async_context(follower)
        app = create_step_worker(
            self._topics.lanes(step),
            service=service,
            group=self._group,
            kafka=kafka,
            settings=worker,
            runner=runner,
        )
        follower.on_failure = partial(app.fail, "control_not_followed")
        return app

    async def _publisher(self, resources: AsyncExitStack) -> Publisher:
        publisher = Publisher(self._settings.kafka, client_id=self._client_id)
        await publisher.open()
        resources.push_async_callback(publisher.close)
        return publisher

    async def _open_when_there(self, writer: Writer | DeadLetterWriter) -> WaitLog:
        """Open a writer, and wait for Postgres: without it tasks run, but rows are not written.

        Raises:
            MigrationError: a migration is not applied.
            PostgresRefusedError: the server, the database or the account cannot be used.
        """

        async def opened() -> list[Finding]:
            try:
                await writer.open()
                return await writer.check_server()
            except SinkUnavailableError:
                await writer.close()
                raise

        wait_log = WaitLog()
        self._health.add("postgres", wait_log.why)
        findings = await when_taken(wait_log, opened)
        log_findings(findings)
        wrong = fatal(findings)
        if wrong:
            raise PostgresRefusedError("; ".join(map(described, wrong)))
        return wait_log
