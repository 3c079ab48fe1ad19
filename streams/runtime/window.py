"""Runs many deliveries at once and acknowledges them in order, for the commands of a worker."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from streams import metrics
from streams.cancellation import this_task_is_cancelled
from streams.kafka.publisher import Outgoing
from streams.runtime.acks import OrderedAcks
from streams.runtime.app import App
from streams.runtime.delivery import Delivery
from streams.runtime.lanes import Lanes
from streams.runtime.pace import LoopWatch, Pace
from streams.summed_gauge import SummedGauge

Work = Callable[[Delivery], Awaitable[None]]

# Work at once may occupy the event loop for about this time; calls in flight wait meanwhile.
_AT_ONCE_S = 0.02


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Work that does not wait: many deliveries in a row, whose results are published together."""

    work: Callable[[Delivery], Outgoing | None]
    """None: this delivery needs the work that waits, and nothing was done."""
    publish: Callable[[Sequence[Outgoing]], Awaitable[object]]


_Begun = tuple[Delivery, OrderedAcks[Delivery]]
"""A delivery, and the queue that acknowledges it in its turn."""


class GivenBackError(Exception):
    """Raised by the work during a drain: it had not begun, and the drain need not wait for it."""


class InFlightWindow:
    """Runs one asyncio task for each delivery, at most ``slots`` at a time.

    The number is lower while the event loop cannot keep up (see
    :class:`~streams.runtime.pace.Pace`): a call that begins then only loses its time in this
    process.

    Work that does not wait needs no task and occupies a slot only briefly: all such deliveries
    share one publication.

    Each topic is a lane; :class:`~streams.runtime.lanes.Lanes` says which delivery is begun next.
    A lane that holds its part of ``buffered_max`` is not read until it holds less, so that
    a flood in one lane does not keep the others from being read.

    Acknowledgements are released strictly in offset order for each topic's partition. A slow
    head therefore holds back those behind it; the window spans at most ``4 * slots``
    deliveries of one partition, which bounds what a crash delivers again.

    The work must not raise: an exception stops the process (nothing is lost, as nothing was
    acknowledged). The work is cancelled when a drain's time is up; unfinished deliveries are
    delivered again.

    Args:
        app: the application that the deliveries come from.
        work: is run for each delivery.
        at_once: tried first, if given.
        weights: the weight of each topic, the most urgent topic first.
        slots: deliveries that are worked on at the same time.
        buffered_max: deliveries that wait; a poll that already runs may add its records.
        patience_s: after this wait a lane weighs as much as the first.
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
        _IN_FLIGHT.add(self)
        _SLOTS.add(self)
        for topic in weights:
            metrics.BUFFERED.labels(topic).set_function(partial(self._lanes.waiting, topic))

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Take deliveries over: each is begun when its turn comes. Never waits.

        Deliveries that come during a drain, or are stale, are let go and delivered again.
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
        """Let go of waiting deliveries, finish running ones, cancel after ``timeout_s``."""
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
        """Do nothing: each delivery brings what it needs."""

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
            # Not acknowledged: the current drain lets go of it.
            pass
        except asyncio.CancelledError as error:
            if this_task_is_cancelled():
                raise
            # A cancellation that is not ours must not count as ours: the delivery would hold
            # back its partition for ever.
            self._app.fail("work_raised", error)
        except Exception as error:
            self._app.fail("work_raised", error)
        else:
            for delivery, acks in begun:
                for released in acks.finish(delivery):
                    released.ack()


_IN_FLIGHT = SummedGauge[InFlightWindow](metrics.IN_FLIGHT, lambda window: len(window._tasks))
_SLOTS = SummedGauge[InFlightWindow](metrics.SLOTS, lambda window: window._pace.slots)
