"""The owner of one partition: the only writer of its tasks' history.

What it promises, whatever is killed: each input is decided once, an event is in the log
before anything that follows from it is done, and an input is acknowledged after both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from schemas.dead_letter import Failure, FailureClass, Stage
from schemas.errors import DecodeError, InvalidRecordError, OrchestratorError
from schemas.records import CommandKind, Millis, TaskId
from schemas.topics import Topics
from streams import metrics
from streams.envelopes import Trace
from streams.errors import ClockDiffersError
from streams.kafka.partitioner import partition_of
from streams.letters.dead_letters import failure_of
from streams.ownership.held import HeldCommand, HeldCommands
from streams.ownership.owned_log import OwnedLog
from streams.ownership.ports import Arrival, World
from streams.ownership.progress import InputProgress
from streams.ownership.recovery import Recovery
from streams.ownership.settings import RouterSettings
from streams.ownership.snapshots import Snapshots
from streams.ownership.task_memory import TaskMemory
from streams.ownership.timers import Timers
from streams.ownership.work import Work
from streams.runtime.acks import OrderedAcks
from tasks.apply import apply
from tasks.decide import decide
from tasks.decision import Accepted, Decision, Ignored, Rejected, Rules
from tasks.effects import due_command, effects
from tasks.inputs import Commanded, Created, DeadlineDue, Input, task_id_of
from tasks.remember import inputs_are_committed
from tasks.task import Task

log = structlog.get_logger()

_NO_TRACE: Trace = {}
_LOOK_AGAIN_MS = 1_000
"""How often to ask whether there are records at all below an end that was not reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerParts:
    """What every owner of this process shares."""

    topics: Topics
    rules: Rules
    settings: RouterSettings
    clock: Callable[[], Millis]
    jitter: Callable[[], float]


class Owner:
    """Takes a partition over, then decides its inputs.

    Fail-stop: when the outcome of an append is unknown it raises, the process ends, and its
    successor finds out from the log. When someone else took over it raises
    :class:`OwnershipLostError`, and is of no use any more: what it has not acknowledged is
    in :meth:`unfinished`.
    """

    def __init__(self, partition: int, parts: OwnerParts, world: World) -> None:
        settings = parts.settings
        self._partition = partition
        self._parts = parts
        self._world = world
        self._log = OwnedLog(partition, world)
        self._snapshots = Snapshots(
            parts.topics.settings.partitions,
            world,
            every_ms=round(settings.snapshot_interval_s * 1000),
            every_events=settings.snapshot_events,
        )
        self._tasks = TaskMemory(parts.rules)
        self._decided_created = -1
        self._orphans: set[tuple[str, int]] = set()
        self._committed: Mapping[str, int] = {}
        self._timers = Timers()
        self._held = HeldCommands(hold_ms=round(settings.hold_s * 1000), at_most=settings.held_max)
        self._progress = InputProgress({}, {})
        self._look_again_at = Millis(0)
        self._acks: dict[str, OrderedAcks[Arrival]] = defaultdict(OrderedAcks)

    async def open(self) -> None:
        """Take over: read snapshots and log, announce a new epoch, redo what may be undone.

        Raises:
            KafkaUnavailableError, PublishError: nothing was decided; another takeover may
                follow.
            TopicsDifferError: the partition belongs to a system of another shape.
            ClockDiffersError, LogLostError, LogTrimmedError, SnapshotUnreadableError,
            TopicReplacedError: nothing was decided, and an operator has to act.
        """
        parts, world = self._parts, self._world
        await self._check_clock()
        committed = await world.committed()
        recovery = Recovery(
            pipelines=parts.rules.pipelines,
            created_topic=parts.topics.task_created,
            events_topic=parts.topics.task_events,
            state_topic=parts.topics.task_state,
            partitions=parts.topics.settings.partitions,
        )
        for record in await self._snapshots.load():
            recovery.load(record)
        # Asked after that: who wrote the newest checkpoint had read no more than there is now.
        bounds = await world.input_bounds()
        recovery.know_topics(
            committed=_valid(committed, bounds),
            ends={topic: end for topic, (_, end) in bounds.items()},
            ids=await world.topic_ids(),
        )
        self._snapshots.topic_ids = recovery.topic_ids
        await self._log.take_over(recovery, parts.clock)
        redone = recovery.redo()
        for task_id, effect in redone:
            log.info("effect_redone", task_id=task_id, effect=type(effect).__name__)
        await world.send([world.seal_effect(effect, _NO_TRACE) for _, effect in redone])
        self._remember(recovery)
        # Asked again, after task-state was read: a task that is forgotten there had all its
        # inputs committed before.
        bounds = await world.input_bounds()
        self._committed = _valid(await world.committed(), bounds)
        ends = {topic: end for topic, (_, end) in bounds.items()}
        self._progress = InputProgress(self._committed, ends)
        self._look_again_at = Millis(parts.clock() + _LOOK_AGAIN_MS)
        metrics.TAKEOVERS.inc()
        log.info(
            "partition_taken_over",
            partition=self._partition,
            epoch=self._log.ownership.epoch,
            tasks=len(self._tasks),
            redone=len(redone),
        )

    async def handle(self, arrivals: Sequence[Arrival]) -> None:
        """Decide a batch, and do what follows from it, each part before the next.

        1. Dead-letter what is refused whatever the state is.
        2. Append the events and prove that they are ours; without any, prove that nobody
           took over.
        3. Do the effects.
        4. Acknowledge.
        """
        await self._check_clock()
        work = Work()
        for arrival in arrivals:
            self._take(arrival, work)
        await self._see_ends()
        self._take_expired(work)
        if not self._progress.behind:
            self._take_due(work)
        if work:
            await self._do(work)
        await self._snapshot()
        metrics.TASKS_IN_MEMORY.labels(str(self._partition)).set(len(self._tasks))

    def unfinished(self) -> list[Arrival]:
        """What was taken and not acknowledged, in offset order for each topic."""
        return [arrival for acks in self._acks.values() for arrival in acks.clear()]

    @property
    def full(self) -> bool:
        """True if no more commands should be given for now: too many wait for their tasks."""
        return self._held.full

    def wakeup_s(self) -> float | None:
        """Seconds until something is due without an input; None: never."""
        now = self._parts.clock()
        times = [self._snapshots.due_at()]
        waits_for_records = self._held.wanted_created_end(now) is not None
        if not waits_for_records:
            times.append(self._held.next_at())
        if not self._progress.behind:
            times.append(self._timers.next_at())
        waits = [max(0.0, (at - now) / 1000) for at in times if at is not None]
        if waits_for_records or self._progress.behind:
            waits.append(_LOOK_AGAIN_MS / 1000)
        return min(waits, default=None)

    async def _check_clock(self) -> None:
        """Before anything is decided by a clock that may be wrong.

        Raises:
            ClockDiffersError: it is.
        """
        at_most_ms = round(self._parts.settings.clock_difference_max_s * 1000)
        difference_ms = await self._world.clock_difference_ms(at_most_ms=at_most_ms)
        if difference_ms is not None and abs(difference_ms) > at_most_ms:
            side = "ahead of" if difference_ms > 0 else "behind"
            raise ClockDiffersError(
                f"this machine's clock is {abs(difference_ms) / 1000:.0f} s {side} the broker's, "
                f"at most {at_most_ms / 1000:.0f} s may be: set it right"
            )

    def _remember(self, recovery: Recovery) -> None:
        self._decided_created = recovery.decided_created
        self._orphans = recovery.orphans
        self._snapshots.start(self._parts.clock())
        for task_id in recovery.touched:
            self._snapshots.changed(task_id)
        for task in recovery.tasks.values():
            self._tasks.put(task)
            self._timers.watch(task)
        self._tasks.put_away()

    def _take(self, arrival: Arrival, work: Work) -> None:
        """Decide one record. Total: whatever is wrong with it becomes a dead letter."""
        self._acks[arrival.topic].add(arrival)
        self._progress.read(arrival.topic, arrival.offset)
        try:
            outcome = self._decide(arrival, work)
        except DecodeError as error:
            outcome = error.code
            failure = failure_of(error, stage=Stage.DECODE, failure_class=FailureClass.POISON)
            work.refused.append((arrival, failure))
        # The last line of defence: one record that trips a fault of ours must not stop all
        # tasks of its partition, again after each restart.
        except Exception as error:
            outcome, failure = _refusal(error)
            if outcome == OrchestratorError.code:
                log.error("decision_raised", arrival=repr(arrival), exc_info=True)
            created = arrival.topic == self._parts.topics.task_created
            (work.refused if created else work.letters).append((arrival, failure))
        if outcome != "held":
            work.done.append(arrival)
        if arrival.topic == self._parts.topics.task_created:
            # Whatever the decision was: also a duplicate must not begin a new life when it is
            # read once more after its task was forgotten.
            self._decided_created = max(self._decided_created, arrival.offset)
        metrics.RECORDS.labels(arrival.topic, outcome).inc()

    def _decide(self, arrival: Arrival, work: Work) -> str:
        given = arrival.read()
        task_id = task_id_of(given)
        task = self._tasks.get(task_id)
        # A task that is known was created here, so this is where its records belong.
        if task is None and (home := self._home_of(task_id)) != self._partition:
            work.effects.append(self._world.seal_forward(arrival, home))
            return "forwarded"
        if self._was_decided(arrival):
            return "duplicate"
        if task is None:
            if isinstance(given, Commanded):
                self._held.add(arrival, given, self._parts.clock())
                return "held"
            if isinstance(given, Created) and self._was_forgotten(given):
                return "forgotten"
        outcome = self._outcome(self._advance(task, given, arrival.trace(), work))
        for held in self._held.release(task_id) if task_id in self._tasks else ():
            self._take_released(held, work)
        return outcome

    def _home_of(self, task_id: TaskId) -> int:
        return partition_of(task_id.encode(), self._parts.topics.settings.partitions)

    def _was_decided(self, arrival: Arrival) -> bool:
        """True for what others decided before we took over, whatever we remember of its task.

        A process that slept may still hold inputs that its successors committed since.
        """
        committed = arrival.offset < self._committed.get(arrival.topic, 0)
        return committed or (arrival.topic, arrival.offset) in self._orphans

    def _was_forgotten(self, given: Created) -> bool:
        """True for an input that was decided, and whose task was forgotten since."""
        return given.cause.offset <= self._decided_created

    def _take_released(self, held: HeldCommand, work: Work) -> None:
        """Decide a command whose task is known now."""
        arrival, task = held.arrival, self._tasks.get(held.given.record.task_id)
        try:
            outcome = self._outcome(self._advance(task, held.given, arrival.trace(), work))
        except Exception as error:
            outcome, failure = _refusal(error)
            work.letters.append((arrival, failure))
        work.done.append(arrival)
        metrics.RECORDS.labels(arrival.topic, outcome).inc()

    def _outcome(self, verdict: Decision) -> str:
        match verdict:
            case Accepted():
                return "accepted"
            case Ignored(reason=reason):
                return reason
            case Rejected(code=code, message=message):
                raise InvalidRecordError(code, message)

    def _advance(self, before: Task | None, given: Input, trace: Trace, work: Work) -> Decision:
        """Decide, and if that makes an event: append it to the work and to memory."""
        parts, world, ours = self._parts, self._world, self._log.ownership
        verdict = decide(before, given, now=parts.clock(), jitter=parts.jitter(), rules=parts.rules)
        if isinstance(verdict, Accepted):
            event = msgspec.structs.replace(verdict.event, owner=ours.owner, owner_epoch=ours.epoch)
            after = apply(before, event)
            sealed = world.seal_event(event, trace)
            todo = [
                world.seal_effect(effect, trace)
                for effect in effects(before, event, after, parts.rules.pipelines)
            ]
            # Nothing raised: only now does the decision exist.
            work.events.append(sealed)
            work.effects += todo
            self._put(after)
            metrics.EVENTS.labels(event.kind).inc()
        return verdict

    def _put(self, task: Task) -> None:
        self._tasks.put(task)
        self._timers.watch(task)
        self._snapshots.changed(task.task_id)

    async def _see_ends(self) -> None:
        """Ask for ends: what newly held commands have to wait for, and what hides no record."""
        created = self._parts.topics.task_created
        if self._held.unknown_end:
            self._held.set_created_end((await self._world.input_bounds())[created][1])
        waiting = dict(self._progress.behind)
        if (end := self._held.wanted_created_end(self._parts.clock())) is not None:
            waiting[created] = max(end, waiting.get(created, 0))
        if not waiting or self._parts.clock() < self._look_again_at:
            return
        self._look_again_at = Millis(self._parts.clock() + _LOOK_AGAIN_MS)
        # What is being read needs no second reader that looks ahead.
        still = self._progress.stood_still(waiting)
        if still:
            await self._pass_committed()
        for topic in still:
            start, end = self._progress.next_of(topic), waiting[topic]
            if start < end and await self._world.no_input_between(topic, start, end):
                self._progress.read_to(topic, end)

    async def _pass_committed(self) -> None:
        """Count what is committed as read.

        If we follow an owner that was deposed in this very process, what it acknowledged was
        perhaps not committed when we took over, and does not come again.
        """
        for topic, offset in (await self._world.committed()).items():
            self._progress.read_to(topic, offset)

    def _take_expired(self, work: Work) -> None:
        """Give up commands whose task nobody created."""
        read_to = self._progress.next_of(self._parts.topics.task_created)
        for held in self._held.expire(self._parts.clock(), read_to):
            retry = held.given.record.kind is CommandKind.RETRY
            code = "TASK_FORGOTTEN" if retry else "TASK_UNKNOWN"
            error = InvalidRecordError(code, "there is no task of this id")
            work.letters.append((held.arrival, _refusal(error)[1]))
            work.done.append(held.arrival)
            metrics.RECORDS.labels(held.arrival.topic, code).inc()

    def _take_due(self, work: Work) -> None:
        """Send due retries, fail tasks whose deadline passed."""
        now = self._parts.clock()
        for due_at, task_id in self._timers.take_due(now):
            task = self._tasks.get(task_id)
            if task is None or task.status.terminal:
                continue
            try:
                if task.deadline_at <= now:
                    self._advance(task, DeadlineDue(task_id), _NO_TRACE, work)
                elif task.outstanding is not None and task.outstanding.due_at == due_at:
                    self._send_due(task, work)
            # As for inputs: one task that trips a fault of ours must not stop all others.
            except Exception:
                log.error("timer_raised", task_id=task_id, exc_info=True)

    def _send_due(self, task: Task, work: Work) -> None:
        # Without its pipeline the task ends by its deadline.
        effect = due_command(task, self._parts.rules.pipelines)
        work.effects.append(self._world.seal_effect(effect, _NO_TRACE))

    async def _do(self, work: Work) -> None:
        await self._world.dead_letter(work.refused)
        if work.events:
            await self._log.append(work.events)
        else:
            await self._log.prove()
        await self._world.send(work.effects)
        await self._world.dead_letter(work.letters)
        for arrival in work.done:
            for released in self._acks[arrival.topic].finish(arrival):
                released.ack()

    async def _snapshot(self) -> None:
        now = self._parts.clock()
        due_at = self._snapshots.due_at()
        if due_at is not None and due_at <= now:
            # A timer may have woken an owner that slept past its session.
            await self._log.prove()
            await self._forget(now)
            count = await self._snapshots.write(
                self._tasks,
                by=self._log.ownership,
                next_offset=self._log.next_offset,
                decided_created=self._decided_created,
                now=now,
            )
            # Now, as nobody will soon ask for them: to write them was the last that was to do.
            self._tasks.put_away()
            metrics.SNAPSHOTS.inc(count)

    async def _forget(self, now: Millis) -> None:
        """Let go of tasks that ended long ago, if none of their inputs can come again."""
        candidates = self._tasks.forgettable(now)
        if not candidates:
            return
        confirmed = await self._world.committed()
        for task in candidates:
            if inputs_are_committed(task, confirmed):
                self._tasks.forget(task.task_id)
                self._snapshots.forgotten(task.task_id)


def _valid(
    committed: Mapping[str, int], bounds: Mapping[str, tuple[int, int]]
) -> Mapping[str, int]:
    """The committed offsets that can be of the topics as they are: none beyond an end."""
    return {t: offset for t, offset in committed.items() if offset <= bounds[t][1]}


def _refusal(error: Exception) -> tuple[str, Failure]:
    """The outcome and the dead letter of an input that was refused, or that met a fault."""
    if isinstance(error, InvalidRecordError):
        stage, failure_class = Stage.VALIDATE, FailureClass.REJECTED
        return error.code, failure_of(error, stage=stage, failure_class=failure_class)
    fault = OrchestratorError(f"{type(error).__name__}: {error}")
    stage, failure_class = Stage.ROUTE, FailureClass.PERMANENT
    return fault.code, failure_of(fault, stage=stage, failure_class=failure_class)
