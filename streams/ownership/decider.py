"""Decides the inputs and the timers of one partition, and collects the work that follows.

No Kafka: a decision changes the memory of tasks and a :class:`~streams.ownership.work.Work`, and
:class:`~streams.ownership.owner.Owner` does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import msgspec
import structlog

from schemas.dead_letter import Failure, FailureClass, Stage
from schemas.errors import DecodeError, InvalidRecordError, OrchestratorError
from schemas.records import CommandKind, TaskId
from streams import metrics
from streams.envelopes import Trace
from streams.history.acceptance import Ownership
from streams.kafka.dead_letters import failure_of
from streams.kafka.partitioner import partition_of
from streams.log_context import working_on
from streams.ownership.held import HeldCommands
from streams.ownership.parts import OwnerParts
from streams.ownership.ports import Arrival, World
from streams.ownership.recovery import Recovery
from streams.ownership.snapshots import Snapshots
from streams.ownership.task_memory import LIVE_PHASES, TaskMemory
from streams.ownership.task_traces import TaskTraces
from streams.ownership.timers import Timers
from streams.ownership.work import Work
from tasks.apply import apply
from tasks.decide import decide
from tasks.decision import Accepted, Decision, Ignored, Rejected
from tasks.effects import due_command, effects
from tasks.inputs import Commanded, Created, DeadlineDue, Input, task_id_of
from tasks.task import Task

log = structlog.get_logger()


class Decider:
    """Holds the tasks of a partition, and decides what happens to them.

    Args:
        partition: which one.
        parts: of this process.
        world: only to make events and effects ready to be sent (``seal_event`` and its siblings).
        snapshots: gets the ids of the tasks that changed.
    """

    def __init__(
        self, partition: int, parts: OwnerParts, world: World, snapshots: Snapshots
    ) -> None:
        settings = parts.settings
        self._partition = partition
        self._parts = parts
        self._world = world
        self._snapshots = snapshots
        self._ownership: Ownership | None = None
        self._committed: Mapping[str, int] = {}
        self.orphans: set[tuple[str, int]] = set()
        """Topic and offset of inputs that were decided for tasks that are not remembered."""
        self.decided_created = -1
        """The highest offset of ``task-created`` that was decided; -1 before the first."""
        self.traces = TaskTraces()
        self.tasks = TaskMemory(parts.rules)
        self.timers = Timers()
        self.held = HeldCommands(hold_ms=round(settings.hold_s * 1000), at_most=settings.held_max)

    def remember(self, recovery: Recovery, ownership: Ownership) -> None:
        """Begin with what a takeover found. Events carry the epoch and owner of ``ownership``."""
        self._ownership = ownership
        self.decided_created = recovery.decided_created
        self.orphans = recovery.orphans
        self.traces = recovery.traces
        for task_id in recovery.touched:
            self._snapshots.changed(task_id)
        for task in recovery.tasks.values():
            self.tasks.put(task)
            self.timers.watch(task)
        self.tasks.put_away()

    def show(self) -> None:
        """Set the gauges of this partition."""
        partition = str(self._partition)
        metrics.TASKS_IN_MEMORY.labels(partition).set(len(self.tasks))
        metrics.HELD_COMMANDS.labels(partition).set(len(self.held))
        for phase in LIVE_PHASES:
            metrics.LIVE_TASKS.labels(partition, phase).set(self.tasks.live[phase])

    def know_committed(self, committed: Mapping[str, int]) -> None:
        """Note the offsets, by topic, below which earlier owners decided every input."""
        self._committed = committed

    def take(self, arrival: Arrival, work: Work) -> None:
        """Decide one record. Never raises for a bad record: it becomes a dead letter."""
        self._settle(arrival, lambda: self._decide(arrival, work), work)
        if arrival.topic == self._parts.topics.task_created:
            # Noted whatever the decision was: a duplicate must not begin a new life of its task
            # either when it is read again after the task was forgotten.
            self.decided_created = max(self.decided_created, arrival.offset)

    def _decide(self, arrival: Arrival, work: Work) -> str:
        given = arrival.read()
        task_id = task_id_of(given)
        task = self.tasks.get(task_id)
        # A known task was created here, so its records belong here.
        if task is None and (home := self._home_of(task_id)) != self._partition:
            work.effects.append(self._world.seal_forward(arrival, home))
            return "forwarded"
        if self._was_decided(arrival):
            return "duplicate"
        if task is None:
            if isinstance(given, Commanded):
                self.held.add(arrival, given, self._parts.clock())
                return "held"
            if isinstance(given, Created) and self._was_forgotten(given):
                return "forgotten"
        outcome = self._advanced(arrival, given, work)
        for held in self.held.release(task_id) if task_id in self.tasks else ():
            self._settle(
                held.arrival, partial(self._advanced, held.arrival, held.given, work), work
            )
        return outcome

    def _home_of(self, task_id: TaskId) -> int:
        return partition_of(task_id.encode(), self._parts.topics.settings.partitions)

    def _was_decided(self, arrival: Arrival) -> bool:
        """True for an input that an earlier owner decided, whatever we remember of its task.

        A process that slept may still hold inputs that its successors have committed.
        """
        committed = arrival.offset < self._committed.get(arrival.topic, 0)
        return committed or (arrival.topic, arrival.offset) in self.orphans

    def _was_forgotten(self, given: Created) -> bool:
        """True for an input that was decided, and whose task was forgotten since."""
        return given.cause.offset <= self.decided_created

    def _settle(self, arrival: Arrival, decide_it: Callable[[], str], work: Work) -> None:
        """Add the outcome of one decision to the work: done, held, or a dead letter."""
        try:
            outcome = decide_it()
        except DecodeError as error:
            outcome = error.code
            failure = failure_of(error, stage=Stage.DECODE, failure_class=FailureClass.POISON)
            work.refused.append((arrival, failure))
        # The last line of defence: a record that runs into a bug of ours must not stop all
        # tasks of its partition, and again after each restart.
        except Exception as error:
            outcome, failure = _refusal(error)
            if outcome == OrchestratorError.code:
                log.error("decision_raised", arrival=repr(arrival), exc_info=True)
            created = arrival.topic == self._parts.topics.task_created
            (work.refused if created else work.letters).append((arrival, failure))
        if outcome != "held":
            work.done.append(arrival)
        metrics.RECORDS.labels(arrival.topic, outcome).inc()

    def _advanced(self, arrival: Arrival, given: Input, work: Work) -> str:
        """Decide about a task in its current state; return the outcome.

        Raises:
            InvalidRecordError: the input cannot be decided.
        """
        task_id = task_id_of(given)
        task, trace = self.tasks.get(task_id), arrival.trace()
        with working_on(task_id, carried=trace):
            decision = self._advance(task, given, trace, work)
        match decision:
            case Accepted():
                return "accepted"
            case Ignored(reason=reason):
                return reason
            case Rejected(code=code, message=message):
                raise InvalidRecordError(code, message)

    def _advance(self, before: Task | None, given: Input, trace: Trace, work: Work) -> Decision:
        """Decide; if the decision makes an event, append the event to the work and to memory."""
        parts, world, ours = self._parts, self._world, self._ownership
        if ours is None:
            raise RuntimeError("decides before the takeover")
        verdict = decide(before, given, now=parts.clock(), jitter=parts.jitter(), rules=parts.rules)
        if isinstance(verdict, Accepted):
            event = msgspec.structs.replace(verdict.event, owner=ours.owner, owner_epoch=ours.epoch)
            after = apply(before, event)
            sealed = world.seal_event(event, trace)
            todo = [
                world.seal_effect(effect, trace)
                for effect in effects(before, event, after, parts.rules.pipelines)
            ]
            # Nothing raised up to here: only now does the decision count.
            work.events.append(sealed)
            work.effects += todo
            self._put(after, trace)
            metrics.EVENTS.labels(event.kind).inc()
            log.debug("task_decided", kind=event.kind, status=event.status)
        return verdict

    def _put(self, task: Task, trace: Trace) -> None:
        self.traces.note(task, trace)
        self.tasks.put(task)
        self.timers.watch(task)
        self._snapshots.changed(task.task_id)

    def take_expired(self, work: Work, read_to: int) -> None:
        """Give up commands whose task does not exist.

        Args:
            work: gets the dead letters.
            read_to: the offset up to which ``task-created`` was read.
        """
        for held in self.held.expire(self._parts.clock(), read_to):
            retry = held.given.record.kind is CommandKind.RETRY
            code = "TASK_FORGOTTEN" if retry else "TASK_UNKNOWN"
            error = InvalidRecordError(code, "there is no task of this id")
            work.letters.append((held.arrival, _refusal(error)[1]))
            work.done.append(held.arrival)
            metrics.RECORDS.labels(held.arrival.topic, code).inc()

    def take_due(self, work: Work) -> None:
        """Send due retries, fail tasks whose deadline passed."""
        now = self._parts.clock()
        for due_at, task_id in self.timers.take_due(now):
            task = self.tasks.get(task_id)
            if task is None or task.status.terminal:
                continue
            try:
                trace = self.traces.of(task_id)
                with working_on(task_id, carried=trace):
                    if task.deadline_at <= now:
                        self._advance(task, DeadlineDue(task_id), trace, work)
                    elif task.outstanding is not None and task.outstanding.due_at == due_at:
                        self._send_due(task, trace, work)
            # As for inputs: a task that runs into a bug of ours must not stop all others.
            except Exception:
                log.error("timer_raised", task_id=task_id, exc_info=True)

    def _send_due(self, task: Task, trace: Trace, work: Work) -> None:
        # A task whose pipeline is missing ends by its deadline.
        effect = due_command(task, self._parts.rules.pipelines)
        work.effects.append(self._world.seal_effect(effect, trace))
        log.debug("retry_due", attempt=effect.command.attempt, step=effect.command.step)


def _refusal(error: Exception) -> tuple[str, Failure]:
    """The outcome and the dead letter of an input that was refused, or that hit a bug."""
    if isinstance(error, InvalidRecordError):
        stage, failure_class = Stage.VALIDATE, FailureClass.REJECTED
        return error.code, failure_of(error, stage=stage, failure_class=failure_class)
    fault = OrchestratorError(f"{type(error).__name__}: {error}")
    stage, failure_class = Stage.ROUTE, FailureClass.PERMANENT
    return fault.code, failure_of(fault, stage=stage, failure_class=failure_class)
