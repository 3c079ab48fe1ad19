"""The owner of one partition: the only writer of its tasks' history.

What it promises, whatever is killed: each input is decided once, an event is in the log
before anything that follows from it is done, and an input is acknowledged after both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from schemas.dead_letter import FailureClass, Stage
from schemas.errors import DecodeError, InvalidRecordError, OrchestratorError
from schemas.records import Millis, TaskId
from schemas.topics import Topics
from streams import metrics
from streams.admin import Admin
from streams.dead_letters import DeadLetters, failure_of
from streams.delivery import Delivery
from streams.envelopes import Trace, event_record
from streams.inbound import Inbound, task_id_of
from streams.ownership.owned_log import OwnedLog
from streams.ownership.recovery import Recovery
from streams.ownership.timers import Timers
from streams.ownership.work import Work
from streams.partitioner import partition_of
from streams.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings
from streams.tracing import context_of, trace_headers
from tasks.apply import apply
from tasks.decide import decide
from tasks.decision import Accepted, Ignored, Rejected, Rules
from tasks.effects import due_command, effects
from tasks.inputs import DeadlineDue, Input
from tasks.pipeline import PipelineUnknownError
from tasks.task import Task

log = structlog.get_logger()

_NO_TRACE: Trace = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerParts:
    """What every owner of this process shares."""

    group: str
    kafka: KafkaSettings
    topics: Topics
    partitions: int
    rules: Rules
    publisher: Publisher
    dead_letters: DeadLetters
    clock: Callable[[], Millis]
    jitter: Callable[[], float]


class Owner:
    """Takes a partition over, then decides its inputs. A ``PartitionHandler``.

    Fail-stop: when the outcome of an append is unknown, or someone else wrote to the log, it
    raises; the process ends, and its successor finds out from the log.
    """

    def __init__(self, partition: int, parts: OwnerParts) -> None:
        self._partition = partition
        self._parts = parts
        self._inbound = Inbound(parts.topics, parts.rules.limits)
        self._log = OwnedLog(
            partition, kafka=parts.kafka, topics=parts.topics, publisher=parts.publisher
        )
        self._tasks: dict[TaskId, Task] = {}
        self._timers = Timers()

    async def open(self) -> None:
        """Take over: read the log, announce a new epoch, redo what may be undone.

        Raises:
            KafkaUnavailableError, PublishError: nothing was decided; another takeover may
                follow.
            OwnershipLostError: another process took over at the same time.
        """
        recovery = await self._recover()
        work = Work()
        for task_id, effect in recovery.redo():
            log.info("effect_redone", task_id=task_id, effect=type(effect).__name__)
            work.add_effect(self._parts.topics, self._partition, effect, _NO_TRACE)
        await self._do(work)
        self._tasks = recovery.tasks
        for task in self._tasks.values():
            self._timers.watch(task)
        metrics.TAKEOVERS.inc()
        log.info(
            "partition_taken_over",
            partition=self._partition,
            epoch=self._log.ownership.epoch,
            tasks=len(self._tasks),
            redone=len(work.effects) + len(work.letters),
        )

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Decide a batch: events first, then their effects, acknowledgements last."""
        ours = [delivery for delivery in deliveries if not delivery.stale()]
        work = Work()
        for delivery in ours:
            self._take(delivery, work)
        self._take_due(work)
        await self._log.append(work.events)
        await self._do(work)
        for delivery in ours:
            delivery.ack()
        metrics.TASKS_IN_MEMORY.labels(str(self._partition)).set(len(self._tasks))

    def wakeup_s(self) -> float | None:
        """Seconds until the next retry or deadline is due."""
        next_at = self._timers.next_at()
        return None if next_at is None else max(0.0, (next_at - self._parts.clock()) / 1000)

    async def _recover(self) -> Recovery:
        parts = self._parts
        inputs = [(name, self._partition) for name in parts.topics.router_inputs]
        async with Admin(parts.kafka) as admin:
            committed = await admin.committed(parts.group, inputs)
        recovery = Recovery(
            pipelines=parts.rules.pipelines,
            committed={name: offset for (name, _), offset in committed.items()},
            now=parts.clock(),
        )
        await self._log.take_over(recovery, parts.clock)
        return recovery

    def _take(self, delivery: Delivery, work: Work) -> None:
        """Decide one record. Total: whatever is wrong with it becomes a dead letter."""
        try:
            given = self._inbound.read(delivery.origin)
            outcome = self._decide(given, delivery, work)
        except DecodeError as error:
            outcome = error.code
            failure = failure_of(error, stage=Stage.DECODE, failure_class=FailureClass.POISON)
            work.letters.append((delivery.origin, failure))
        except InvalidRecordError as error:
            outcome = error.code
            failure = failure_of(error, stage=Stage.VALIDATE, failure_class=FailureClass.REJECTED)
            work.letters.append((delivery.origin, failure))
        # The last line of defence: one record that trips a fault of ours must not stop all
        # tasks of its partition, again after each restart.
        except Exception as error:
            log.error("decision_raised", delivery=repr(delivery), exc_info=True)
            outcome = OrchestratorError.code
            fault = OrchestratorError(f"{type(error).__name__}: {error}")
            failure = failure_of(fault, stage=Stage.ROUTE, failure_class=FailureClass.PERMANENT)
            work.letters.append((delivery.origin, failure))
        metrics.RECORDS.labels(delivery.topic, outcome).inc()

    def _decide(self, given: Input, delivery: Delivery, work: Work) -> str:
        task_id = task_id_of(given)
        home = partition_of(task_id.encode(), self._parts.partitions)
        if home != self._partition:
            work.effects.append(_forwarded(delivery, home))
            return "forwarded"
        trace = trace_headers(context_of(delivery.headers))
        verdict = self._advance(task_id, given, trace, work)
        match verdict:
            case Accepted():
                return "accepted"
            case Ignored(reason=reason):
                return reason
            case Rejected(code=code, message=message):
                raise InvalidRecordError(code, message)

    def _advance(
        self, task_id: TaskId, given: Input, trace: Trace, work: Work
    ) -> Accepted | Ignored | Rejected:
        """Decide, and if that makes an event: append it to the work and to memory."""
        parts, before, ours = self._parts, self._tasks.get(task_id), self._log.ownership
        verdict = decide(before, given, now=parts.clock(), jitter=parts.jitter(), rules=parts.rules)
        if isinstance(verdict, Accepted):
            event = msgspec.structs.replace(verdict.event, owner=ours.owner, owner_epoch=ours.epoch)
            after = apply(before, event)
            todo = Work([event_record(parts.topics, self._partition, event, trace)])
            for effect in effects(before, event, after, parts.rules.pipelines):
                todo.add_effect(parts.topics, self._partition, effect, trace)
            # Nothing raised: only now does the decision exist.
            self._tasks[task_id] = after
            self._timers.watch(after)
            work.events += todo.events
            work.effects += todo.effects
            work.letters += todo.letters
            metrics.EVENTS.labels(event.kind).inc()
        return verdict

    def _take_due(self, work: Work) -> None:
        """Send due retries, fail tasks whose deadline passed."""
        now = self._parts.clock()
        for due_at, task_id in self._timers.take_due(now):
            task = self._tasks[task_id]
            if task.status.terminal:
                continue
            if task.deadline_at <= now:
                self._advance(task_id, DeadlineDue(task_id), _NO_TRACE, work)
            elif task.outstanding is not None and task.outstanding.due_at == due_at:
                self._send_due(task, work)

    def _send_due(self, task: Task, work: Work) -> None:
        try:
            effect = due_command(task, self._parts.rules.pipelines)
        except PipelineUnknownError as error:
            # Its file was taken away: the task ends by its deadline, the others go on.
            log.error("retry_not_sent", task_id=task.spec.task_id, code=error.code)
            return
        work.add_effect(self._parts.topics, self._partition, effect, _NO_TRACE)

    async def _do(self, work: Work) -> None:
        if work.effects:
            await self._parts.publisher.publish(work.effects)
        await self._parts.dead_letters.bury(work.letters)


def _forwarded(delivery: Delivery, partition: int) -> Outgoing:
    """A record that its client's partitioner put elsewhere, for the partition of its key."""
    return Outgoing(
        topic=delivery.topic,
        partition=partition,
        key=delivery.key,
        value=delivery.value,
        headers=list(delivery.headers),
        timestamp_ms=delivery.timestamp_ms,
    )
