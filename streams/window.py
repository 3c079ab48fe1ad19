"""Many deliveries at once, acknowledged in order: how a worker runs its commands."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

from streams.acks import OrderedAcks
from streams.app import App
from streams.delivery import Delivery

Work = Callable[[Delivery], Awaitable[None]]


class InFlightWindow:
    """Runs one asyncio task for each delivery, at most ``slots`` at a time.

    Acknowledgements are released strictly in offset order for each topic's partition. A slow
    head therefore holds back those behind it; the window spans at most ``4 * slots``
    deliveries of one partition, which bounds what a crash delivers again.

    The work must be total: an exception from it stops the process (nothing is lost, as
    nothing was acknowledged).
    """

    def __init__(self, app: App, work: Work, *, slots: int = 64) -> None:
        self._app = app
        self._work = work
        self._slots = asyncio.Semaphore(slots)
        self._span = 4 * slots
        self._acks: dict[tuple[str, int], OrderedAcks[Delivery]] = defaultdict(OrderedAcks)
        self._tasks: set[asyncio.Task[None]] = set()
        self._released = asyncio.Event()
        app.drainables.append(self)

    async def start(self, delivery: Delivery) -> None:
        """Run the work on a delivery as soon as a slot is free; returns when it has begun.

        A delivery that became stale while it waited is let go.
        """
        acks = self._acks[delivery.topic, delivery.partition]
        while len(acks) >= self._span and not delivery.stale():
            self._released.clear()
            await self._released.wait()
        await self._slots.acquire()
        if delivery.stale():
            self._slots.release()
            delivery.discard()
            return
        acks.add(delivery)
        task = asyncio.create_task(self._run(delivery, acks))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, timeout_s: float) -> None:
        """Wait for the tasks in flight, cancel what is left after ``timeout_s``."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=timeout_s)
        for acks in self._acks.values():
            for delivery in acks.clear():
                delivery.discard()
        self._released.set()

    def assigned(self, partitions: frozenset[int]) -> None:
        """Nothing to prepare: each delivery brings what it needs."""

    async def _run(self, delivery: Delivery, acks: OrderedAcks[Delivery]) -> None:
        try:
            await self._work(delivery)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._app.fail("work_raised", error)
        else:
            for released in acks.finish(delivery):
                released.ack()
            self._released.set()
        finally:
            self._slots.release()
