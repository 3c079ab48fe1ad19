"""Many deliveries at once, acknowledged in order: how a worker runs its commands."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from streams import metrics
from streams.kafka.publisher import Outgoing
from streams.runtime.acks import OrderedAcks
from streams.runtime.app import App
from streams.runtime.delivery import Delivery
from streams.runtime.lanes import Lanes
from streams.runtime.pace import LoopWatch, Pace

Work = Callable[[Delivery], Awaitable[None]]

# The event loop is kept to itself for about so long; whoever waits for a call waits with it.
_AT_ONCE_S = 0.02


@dataclass(frozen=True, slots=True)
class AtOnce:
    """What is done without waiting, many deliveries in a row, and then published together."""

    work: Callable[[Delivery], Outgoing | None]
    """None: this delivery needs the work that waits, and nothing was done."""
    publish: Callable[[Sequence[Outgoing]], Awaitable[object]]


_Begun = tuple[Delivery, OrderedAcks[Delivery]]
"""A delivery, and where it is acknowledged in its turn."""


class GivenBackError(Exception):
    """From the work, during a drain: it had not begun, and need not be waited for."""


class InFlightWindow:
    """Runs one asyncio task for each delivery, at most ``slots`` at a time.

    Fewer while the event loop cannot keep up (see :class:`~streams.runtime.pace.Pace`): a
    call that is begun then only loses its time in this process.

    What can be done at once needs neither a task nor a slot for long: as many deliveries as
    there are share one publication.

    Each topic is a lane; :class:`~streams.runtime.lanes.Lanes` says which delivery is begun next.
    A lane that holds its part of ``buffered_max`` is not read until it holds less, so that
    a flood in one lane does not keep the others from being read.

    Acknowledgements are released strictly in offset order for each topic's partition. A slow
    head therefore holds back those behind it; the window spans at most ``4 * slots``
    deliveries of one partition, which bounds what a crash delivers again.

    The work must be total: an exception from it stops the process (nothing is lost, as
    nothing was acknowledged). It is cancelled when a drain's time is up; what it had begun
    is delivered again.

    Args:
        app: what the deliveries come from.
        work: what is done with each.
        at_once: tried first, if there is such work.
        weights: of each topic, the most urgent first.
        slots: deliveries that are worked on at the same time.
        buffered_max: deliveries that wait; a poll that is under way may add its records.
        patience_s: after so long a wait a lane weighs as much as the first.
    """

    def __init__(
        self,
        app: App,
        work: Work,
        *,
        weights: Mapping[str, int],
        at_once: AtOnce | None = None,
        slots: int = 64,
        buffered_max: int = 1000,
        patience_s: float = 30.0,
    ) -> None:
        self._app = app
        self._work = work
        self._at_once = at_once
        self._pace = Pace(slots)
        self._loop_watch = LoopWatch(self._pace, self._paced)
        self._span = 4 * slots
        self._lane_max = max(1, buffered_max // len(weights))
        self._topics = tuple(weights)
        self._lanes: Lanes[Delivery] = Lanes(weights, slots=slots, patience_s=patience_s)
        self._acks: dict[tuple[str, int], OrderedAcks[Delivery]] = defaultdict(OrderedAcks)
        self._tasks: set[asyncio.Task[None]] = set()
        self._publications: set[asyncio.Task[None]] = set()
        self._drained_epoch: int | None = None
        app.drainables.append(self)
        app.full_topics = self.full_topics
        metrics.IN_FLIGHT.set_function(lambda: len(self._tasks))
        metrics.SLOTS.set_function(lambda: self._pace.slots)
        metrics.LOOP_DELAY_SECONDS.set_function(lambda: self._pace.delay_s)
        for topic in weights:
            metrics.BUFFERED.labels(topic).set_function(partial(self._lanes.waiting, topic))

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Take deliveries over: each is begun when its turn comes. Never waits.

        What comes during a drain, or is stale, is let go and delivered again.
        """
        self._loop_watch.start()
        begins, now_s = self._begins(), time.monotonic()
        for delivery in deliveries:
            if not begins or delivery.stale():
                delivery.discard()
            else:
                self._lanes.put(delivery.topic, delivery.partition, delivery, now_s)
        self._fill()

    def full_topics(self) -> frozenset[str]:
        """The topics that must not be read now."""
        return frozenset(t for t in self._topics if self._lanes.waiting(t) >= self._lane_max)

    async def drain(self, timeout_s: float) -> None:
        """Let go of what waits, finish what runs, cancel what is left after ``timeout_s``."""
        self._drained_epoch = self._app.epoch
        for delivery in self._lanes.clear():
            delivery.discard()
        if running := self._tasks | self._publications:
            _, late = await asyncio.wait(running, timeout=timeout_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=timeout_s)
        for acks in self._acks.values():
            for delivery in acks.clear():
                delivery.discard()
        self._acks.clear()

    def assigned(self, partitions: frozenset[int]) -> None:
        """Nothing to prepare: each delivery brings what it needs."""

    def _begins(self) -> bool:
        """False from the begin of a drain until the next assignment, and in a closing process."""
        return not self._app.closing and self._app.epoch != self._drained_epoch

    def _paced(self) -> None:
        if self._app.closing:
            self._loop_watch.stop()
        self._fill()

    def _fill(self) -> None:
        """Begin deliveries while there are slots."""
        done, records = list[_Begun](), list[Outgoing]()
        until_s = time.monotonic() + _AT_ONCE_S
        while self._begins():
            free, now_s = self._pace.slots - len(self._tasks), time.monotonic()
            if now_s > until_s:
                asyncio.get_running_loop().call_soon(self._fill)
                break
            delivery = self._lanes.take(free=free, now_s=now_s, ready=self._has_room)
            if delivery is None:
                break
            begun = delivery, self._acks[delivery.topic, delivery.partition]
            begun[1].add(delivery)
            record = self._done_at_once(delivery)
            if record is None:
                self._begin(self._tasks, self._work(delivery), [begun])
            else:
                done.append(begun)
                records.append(record)
        if self._at_once is not None and done:
            self._begin(self._publications, self._at_once.publish(records), done)

    def _has_room(self, topic: str, partition: int) -> bool:
        return len(self._acks[topic, partition]) < self._span

    def _done_at_once(self, delivery: Delivery) -> Outgoing | None:
        try:
            return None if self._at_once is None else self._at_once.work(delivery)
        except Exception as error:
            self._app.fail("work_raised", error)
            return None

    def _begin(
        self, running: set[asyncio.Task[None]], work: Awaitable[object], begun: Sequence[_Begun]
    ) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            running.discard(task)
            self._fill()

        task = asyncio.create_task(self._run(work, begun))
        running.add(task)
        task.add_done_callback(ended)

    async def _run(self, work: Awaitable[object], begun: Sequence[_Begun]) -> None:
        """Wait for the work, then acknowledge the deliveries that it is for."""
        try:
            await work
        except GivenBackError:
            # Not acknowledged: the drain that is under way lets go of it.
            pass
        except asyncio.CancelledError as error:
            if _this_task_is_cancelled():
                raise
            # Somebody else's cancellation, which must not pass for ours: the delivery would
            # hold back its partition for ever.
            self._app.fail("work_raised", error)
        except Exception as error:
            self._app.fail("work_raised", error)
        else:
            for delivery, acks in begun:
                for released in acks.finish(delivery):
                    released.ack()


def _this_task_is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
