"""The owner of one partition: the only writer of its tasks' history.

Whatever process is killed: each input is decided once, an event is in the log before its
effects are done, and an input is acknowledged after both.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set

import structlog

from schemas.records import Millis
from streams import metrics
from streams.errors import ClockDiffersError
from streams.ownership.decider import Decider
from streams.ownership.owned_log import OwnedLog
from streams.ownership.parts import OwnerParts
from streams.ownership.ports import Arrival, World
from streams.ownership.progress import LOOK_AGAIN_MS, Inputs, offsets_of, valid_commits
from streams.ownership.recovery import Recovery
from streams.ownership.snapshots import Snapshots
from streams.ownership.work import Work
from streams.runtime.acks import OrderedAcks
from tasks.remember import inputs_are_settled

log = structlog.get_logger()


class Owner:
    """Takes a partition over, then decides its inputs.

    Fail-stop: when the outcome of an append is unknown, the owner raises, the process ends, and
    its successor reads the log. When another owner took over, this one raises
    :class:`OwnershipLostError` and cannot be used again; :meth:`unfinished` returns what it has
    not acknowledged.
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
        self._inputs = Inputs(world, created_topic=parts.topics.task_created, clock=parts.clock)
        self._decider = Decider(partition, parts, world, self._snapshots)
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
        parts, world, began_s = self._parts, self._world, time.perf_counter()
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
        # After that: the writer of the newest checkpoint had read no more than exists now.
        bounds = await world.input_bounds()
        recovery.know_topics(
            committed=valid_commits(committed, bounds),
            ends={topic: end for topic, (_, end) in bounds.items()},
            ids=await world.topic_ids(),
        )
        self._snapshots.topic_ids = recovery.topic_ids
        await self._log.take_over(recovery, parts.clock)
        redone = recovery.redo()
        for task_id, effect in redone:
            log.info("effect_redone", task_id=task_id, effect=type(effect).__name__)
        traces = recovery.traces
        await world.send(
            [world.seal_effect(effect, traces.of(task_id)) for task_id, effect in redone]
        )
        self._snapshots.start(parts.clock())
        self._decider.remember(recovery, self._log.ownership)
        self._decider.know_committed(await self._inputs.begin())
        metrics.TAKEOVERS.inc()
        metrics.TAKEOVER_SECONDS.observe(time.perf_counter() - began_s)
        metrics.OWNER_EPOCH.labels(str(self._partition)).set(self._log.ownership.epoch)
        self._decider.show()
        log.info(
            "partition_taken_over",
            partition=self._partition,
            epoch=self._log.ownership.epoch,
            tasks=len(self._decider.tasks),
            redone=len(redone),
        )

    async def handle(self, arrivals: Sequence[Arrival]) -> None:
        """Decide a batch, and do what follows, each part before the next.

        1. Dead-letter the inputs that are refused whatever the state is.
        2. Append the events and prove that they are ours; without events, prove that no other
           owner took over.
        3. Do the effects.
        4. Acknowledge.
        """
        await self._check_clock()
        work, decider, inputs = Work(), self._decider, self._inputs
        for arrival in arrivals:
            self._acks[arrival.topic].add(arrival)
            inputs.read(arrival.topic, arrival.offset)
            decider.take(arrival, work)
        await inputs.see_ends(decider.held)
        decider.take_expired(work, inputs.created_read_to)
        if not inputs.behind:
            decider.take_due(work)
        if work:
            await self._do(work)
        await self._snapshot()
        decider.show()

    @property
    def epoch(self) -> int:
        """The epoch under which this owner has taken over."""
        return self._log.ownership.epoch

    def unfinished(self) -> list[Arrival]:
        """The arrivals that were taken and not acknowledged, in offset order for each topic."""
        return [arrival for acks in self._acks.values() for arrival in acks.clear()]

    @property
    def full(self) -> bool:
        """True if reading further commands should pause: too many wait for their tasks."""
        return self._decider.held.full

    def wakeup_s(self) -> float | None:
        """Seconds until something is due without an input; None if nothing will be due."""
        now, held, behind = self._parts.clock(), self._decider.held, self._inputs.behind
        times = [self._snapshots.due_at()]
        waits_for_records = held.wanted_created_end(now) is not None
        if not waits_for_records:
            times.append(held.next_at())
        if not behind:
            times.append(self._decider.timers.next_at())
        waits = [max(0.0, (at - now) / 1000) for at in times if at is not None]
        if waits_for_records or behind:
            waits.append(LOOK_AGAIN_MS / 1000)
        return min(waits, default=None)

    async def _check_clock(self) -> None:
        """Check the clock before anything is decided by it.

        Raises:
            ClockDiffersError: the clock is too far from the broker's.
        """
        at_most_ms = round(self._parts.settings.clock_difference_max_s * 1000)
        difference_ms = await self._world.clock_difference_ms(at_most_ms=at_most_ms)
        if difference_ms is not None:
            metrics.CLOCK_DIFFERENCE_SECONDS.set(difference_ms / 1000)
        if difference_ms is not None and abs(difference_ms) > at_most_ms:
            side = "ahead of" if difference_ms > 0 else "behind"
            raise ClockDiffersError(
                f"this machine's clock is {abs(difference_ms) / 1000:.0f} s {side} the broker's, "
                f"at most {at_most_ms / 1000:.0f} s may be: set it right"
            )

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
                self._decider.tasks,
                self._decider.traces,
                by=self._log.ownership,
                next_offset=self._log.next_offset,
                decided_created=self._decider.decided_created,
                orphans=await self._orphans(),
                now=now,
            )
            # Move ended tasks to disk now: they have been snapshotted and are rarely read again.
            self._decider.tasks.put_away()
            metrics.SNAPSHOTS.inc(count)

    async def _orphans(self) -> Set[tuple[str, int]]:
        """The inputs that were decided for forgotten tasks, without those that do not come again.

        A checkpoint passes the events that tell of them.
        """
        orphans = self._decider.orphans
        if orphans:
            settled = await self._settled()
            orphans -= {place for place in orphans if place[1] < settled.get(place[0], 0)}
        return orphans

    async def _forget(self, now: Millis) -> None:
        """Forget tasks that ended long ago and whose inputs cannot be delivered again."""
        candidates = self._decider.tasks.forgettable(now)
        if not candidates:
            return
        settled = await self._settled()
        for task in candidates:
            if inputs_are_settled(task, settled):
                self._decider.tasks.forget(task.task_id)
                self._snapshots.forgotten(task.task_id)

    async def _settled(self) -> Mapping[str, int]:
        """By topic, the offset below which no input comes again."""
        return self._inputs.settled(offsets_of(await self._world.committed()))
