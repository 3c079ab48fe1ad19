"""Runs step commands once each, from record to published result. A bad record never raises."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence

import structlog

from agents.steps.answers import Answers
from agents.steps.attempt import RunnerParts, RunningAttempt
from agents.steps.cancels import Cancels, stops
from agents.steps.report import Attempt
from schemas.codec import decode
from schemas.dead_letter import FailureClass, Stage
from schemas.errors import DecodeError, InvalidRecordError, OrchestratorError
from schemas.records import CommandId, Control, ResultKind, StepCommand, StepResult, TaskId
from streams import metrics
from streams import span_names as names
from streams.envelopes import result_record
from streams.kafka.dead_letters import failure_of
from streams.kafka.group_note import REPEAT_S
from streams.kafka.patience import publish_patiently
from streams.kafka.publisher import Outgoing
from streams.log_context import working_on
from streams.runtime.app import App
from streams.runtime.delivery import Delivery
from streams.runtime.window import AtOnce, GivenBackError
from streams.summed_gauge import SummedGauge
from streams.tracing import (
    consumer_span,
    current_span,
    describe,
    exemplar,
    fail,
    trace_headers,
    traced,
)
from tasks.identity import check_key

log = structlog.get_logger()

_CANCELS = SummedGauge[Cancels](metrics.CANCELS_IN_MEMORY, len)
_ANSWERS = SummedGauge[Answers](metrics.ANSWERS_IN_MEMORY_BYTES, lambda answers: answers.size_bytes)

# After the deliveries stopped waiting for it: a delivery that still waits would begin it again.
_ABORT_AFTER_S = 0.1
_ABORT_S = 2.0
"""Time for an aborted attempt to end: its call has a second for that."""


class StepRunner:
    """Calls the service of a command and reports the outcome.

    An attempt is an asyncio task of its own; deliveries of its command wait for it. So a
    second copy joins a running call, and a call survives a rebalance that leaves its partition
    with this process: the command is delivered again, and joins. The calls of partitions that
    went to another process are aborted without a report.
    """

    def __init__(self, parts: RunnerParts) -> None:
        self._parts = parts
        _CANCELS.add(parts.cancels)
        _ANSWERS.add(parts.answers)
        self._running: dict[CommandId, tuple[RunningAttempt, asyncio.Task[None]]] = {}
        self._of_task: defaultdict[TaskId, set[CommandId]] = defaultdict(set)
        self._app: App | None = None
        self._noting: asyncio.Task[None] | None = None

    def attach(self, app: App) -> None:
        """Follow the rebalances and the end of an application."""
        self._app = app
        app.drainables.append(self)
        app.on_lost_positions = self.remember
        app.note = self._parts.gate.note
        self._parts.gate.on_change = self._begin_noting

    def _begin_noting(self) -> None:
        if self._noting is None or self._noting.done():
            self._noting = asyncio.create_task(self._keep_noting())

    async def _keep_noting(self) -> None:
        """Write beside the offsets which services wait, so that others can say why tasks wait.

        Again and again: commands come into partitions in which nothing was acknowledged since, and
        an old note is not believed.
        """
        gate = self._parts.gate
        while self._app is not None and not self._app.closing:
            noted = gate.note()
            await self._app.consumer.commit_note()
            if not noted and not gate.note():
                return
            await asyncio.sleep(REPEAT_S)

    async def run(self, delivery: Delivery) -> None:
        """Run one command; return when its result, or its dead letter, is delivered.

        If it is cancelled, it stops waiting, and the attempt goes on.

        Raises:
            PublishError: it is unknown whether the result was written. The process must stop.
            GivenBackError: a drain began while it waited for its service.
        """
        with _span_of(delivery):
            try:
                command = self._read(delivery)
            except (DecodeError, InvalidRecordError) as error:
                await self._dead_letter(delivery, error)
            # Without a command there is no result that could report the error.
            except Exception as error:
                log.error("command_raised", delivery=repr(delivery), exc_info=True)
                await self._dead_letter(
                    delivery, OrchestratorError(f"{type(error).__name__}: {error}")
                )
            else:
                with _work_on(command):
                    await self._answer(command, delivery)

    def at_once(self, service: str) -> AtOnce | None:
        """The work that a window tries before :meth:`run`, if this service answers without waiting.

        Raises:
            SettingsError: the service does not exist.
        """
        if self._parts.services.client_at_once(service) is None:
            return None
        return AtOnce(self._run_at_once, self._publish)

    async def _publish(self, records: Sequence[Outgoing]) -> None:
        """Publish results. A refused result is not dropped but waits: its call was paid for."""
        await publish_patiently(self._parts.publisher, records)

    def stop(self, control: Control) -> None:
        """Stop the running attempts of a task's run, and its later commands."""
        parts = self._parts
        parts.cancels.remember(control, parts.clock())
        for command_id in self._of_task.get(control.task_id, ()):
            attempt, _ = self._running[command_id]
            if stops(control, attempt.command.task_id, attempt.command.run):
                attempt.stop(control)

    async def remember(self, partitions: frozenset[int]) -> None:
        """Remember the results of commands that are about to be read again.

        Raises:
            KafkaUnavailableError: the results could not be read; commands run again.
        """
        found = await self._parts.past.results(partitions)
        for command_id, value in found.items():
            self._parts.answers.keep(command_id, value)

    async def drain(self, timeout_s: float) -> None:
        """Give back waiting commands; at a rebalance attempts go on until :meth:`assigned`.

        At the end of the process, wait for the attempts, and abort what is left.
        """
        self._parts.gate.shut()
        if self._app is not None and self._app.closing and self._running:
            tasks = [task for _, task in self._running.values()]
            _, late = await asyncio.wait(tasks, timeout=timeout_s + _ABORT_AFTER_S)
            await _abort(late)

    def assigned(self, partitions: frozenset[int]) -> None:
        """Abort the attempts whose commands now belong to another process."""
        if self._app is None or not self._app.closing:
            self._parts.gate.open()
        for attempt, task in self._running.values():
            if attempt.partition not in partitions:
                task.cancel()

    def _run_at_once(self, delivery: Delivery) -> Outgoing | None:
        with _span_of(delivery) as span:
            record = self._tried_at_once(delivery)
            if record is None:
                # The method that waits makes a span of its own.
                span.drop()
            return record

    def _tried_at_once(self, delivery: Delivery) -> Outgoing | None:
        try:
            command = self._read(delivery)
            client = self._parts.services.client_at_once(command.service)
        # The method that runs the command reports this.
        except OrchestratorError:
            return None
        known = command.command_id in self._running or self._kept(command) is not None
        if known or client is None:
            return None
        with _work_on(command):
            running = self._attempt(command, delivery)
            reported = running.run_at_once(client)
            if reported is None:
                return None
            self._note(running, *reported)
        return reported[1]

    def _read(self, delivery: Delivery) -> StepCommand:
        max_bytes = self._parts.limits.record_max_bytes
        command = decode(delivery.value, StepCommand, max_bytes=max_bytes)
        check_key(delivery.key, command.task_id)
        return command

    async def _answer(self, command: StepCommand, delivery: Delivery) -> None:
        """Return when a result of the command is published: of this copy or of the first one."""
        kept = self._kept(command)
        if kept is not None:
            await self._publish_again(kept, delivery)
            metrics.COPIES.labels(command.step, "answered").inc()
            log.info("step_answered_again", command_id=command.command_id)
            return
        running = self._running.get(command.command_id)
        if running is not None:
            metrics.COPIES.labels(command.step, "joined").inc()
        task = running[1] if running is not None else self._begin(command, delivery)
        await asyncio.wait({task})
        if task.cancelled():
            # It was aborted when its partition was lost, and the partition came back.
            await self._answer(command, delivery)
            return
        task.result()

    def _kept(self, command: StepCommand) -> bytes | None:
        return self._parts.answers.find(command.command_id)

    async def _publish_again(self, value: bytes, delivery: Delivery) -> None:
        parts = self._parts
        result = decode(value, StepResult, max_bytes=len(value))
        record = result_record(parts.topics, delivery.partition, result, trace_headers())
        await self._publish([record])

    def _begin(self, command: StepCommand, delivery: Delivery) -> asyncio.Task[None]:
        running = self._attempt(command, delivery)
        task = asyncio.create_task(self._run(running))
        self._running[command.command_id] = running, task
        self._of_task[command.task_id].add(command.command_id)
        task.add_done_callback(lambda ended: self._ended(command, ended))
        return task

    def _attempt(self, command: StepCommand, delivery: Delivery) -> RunningAttempt:
        parts = self._parts
        attempt = Attempt(
            command=command,
            origin=delivery.origin,
            worker=parts.worker,
            started_at=parts.clock(),
        )
        return RunningAttempt(attempt, parts)

    async def _run(self, running: RunningAttempt) -> None:
        result, record = await running.run()
        await self._publish([record])
        self._note(running, result, record)

    def _note(self, running: RunningAttempt, result: StepResult, record: Outgoing) -> None:
        """Keep a result for second copies of its command, and log the outcome."""
        command, parts = running.command, self._parts
        parts.answers.keep(command.command_id, record.value or b"")
        duration_s = time.perf_counter() - running.began_s
        metrics.RECORDS.labels(result.command_topic, result.kind).inc()
        seconds = metrics.STEP_SECONDS.labels(command.step, result.kind)
        seconds.observe(duration_s, exemplar())
        if result.error is not None and result.kind is ResultKind.FAILED:
            fail(current_span(), result.error.code)
        if result.kind is ResultKind.CANCELLED:
            how = "aborted" if running.called else "dropped"
            metrics.STOPPED.labels(command.step, how).inc()
        log.info(
            f"step_{result.kind}",
            command_id=command.command_id,
            service=command.service,
            code=result.error.code if result.error else None,
            duration_ms=round(duration_s * 1000),
        )

    def _ended(self, command: StepCommand, task: asyncio.Task[None]) -> None:
        del self._running[command.command_id]
        ids = self._of_task[command.task_id]
        ids.discard(command.command_id)
        if not ids:
            del self._of_task[command.task_id]
        # If no delivery waits for it any more, its exception must be noticed here.
        error = None if task.cancelled() else task.exception()
        if isinstance(error, GivenBackError):
            return
        if error is not None and self._app is not None:
            self._app.fail("attempt_raised", error)

    async def _dead_letter(self, delivery: Delivery, error: OrchestratorError) -> None:
        stage, failure_class = Stage.EXECUTE, FailureClass.PERMANENT
        if isinstance(error, DecodeError):
            stage, failure_class = Stage.DECODE, FailureClass.POISON
        elif isinstance(error, InvalidRecordError):
            stage, failure_class = Stage.VALIDATE, FailureClass.REJECTED
        failure = failure_of(error, stage=stage, failure_class=failure_class)
        fail(current_span(), error.code)
        await self._parts.dead_letters.publish([(delivery.origin, failure)])
        metrics.RECORDS.labels(delivery.topic, error.code).inc()


def _span_of(delivery: Delivery) -> traced:
    return consumer_span(delivery.headers, delivery.topic, delivery.partition, delivery.offset)


def _work_on(command: StepCommand) -> working_on:
    """The attempt as the current span and every log line describe it."""
    describe(
        current_span(),
        lambda: {
            names.TASK: command.task_id,
            names.TENANT: command.tenant_id,
            names.RUN: command.run,
            names.STEP: command.step,
            names.ATTEMPT: command.attempt,
        },
    )
    return working_on(command.task_id, command.step, command.attempt)


async def _abort(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_ABORT_S)
