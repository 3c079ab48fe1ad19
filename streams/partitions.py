"""One asyncio task for each assigned partition: how the router and the sink work."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from streams.app import App
from streams.delivery import Delivery
from streams.errors import OwnershipLostError

log = structlog.get_logger()

BATCH_MAX = 500
"""Deliveries in one batch. Bounds how long one batch keeps the event loop to itself."""
INBOX_MAX = 2_000
"""Deliveries that wait for one partition; beyond that reading stops, and partitions pause."""


class PartitionHandler(Protocol):
    """What is done with one partition while it is ours."""

    async def open(self) -> None:
        """Take the partition over: called once, before its first delivery."""

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Process deliveries in their order and acknowledge them.

        Called with an empty sequence when :meth:`wakeup_s` has passed. May be cancelled at a
        rebalance; what was not acknowledged is delivered again. OwnershipLostError makes
        way for a new handler; any other exception stops the process.
        """

    def unfinished(self) -> list[Delivery]:
        """What it took and has not acknowledged, in offset order for each topic.

        Asked of a handler that was deposed; its successor begins with these.
        """

    def wakeup_s(self) -> float | None:
        """Seconds until :meth:`handle` wants to be called again; None: only for deliveries."""


class Partitions:
    """Hands deliveries to the handler of their partition, in order, one batch at a time.

    What arrives while a handler works joins its next batch. Handlers live from one rebalance
    to the next; one that was deposed in between is replaced, as long as the group still
    assigns its partition to us.
    """

    def __init__(self, app: App, handler: Callable[[int], PartitionHandler]) -> None:
        self._app = app
        self._handler = handler
        self._inboxes: dict[int, _Inbox] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        app.drainables.append(self)

    async def give(self, batch: Sequence[Delivery]) -> None:
        """Put deliveries into their partitions' inboxes; waits while one of them is full."""
        for delivery in batch:
            inbox = self._inboxes.get(delivery.partition)
            if inbox is None or delivery.stale():
                delivery.discard()
                continue
            if not inbox.put(delivery):
                await inbox.wait_for_room()
                if delivery.stale():
                    delivery.discard()
                else:
                    inbox.put(delivery, force=True)

    async def drain(self, timeout_s: float) -> None:
        """Let each handler finish its batch, cancel it after ``timeout_s``, drop the inboxes."""
        for inbox in self._inboxes.values():
            inbox.close()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks.values(), timeout=timeout_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=timeout_s)
        self._tasks.clear()
        self._inboxes.clear()

    def assigned(self, partitions: frozenset[int]) -> None:
        """Start a handler for each partition."""
        for partition in partitions:
            inbox = self._inboxes[partition] = _Inbox()
            self._tasks[partition] = asyncio.create_task(
                self._run(partition, inbox), name=f"partition-{partition}"
            )

    async def _run(self, partition: int, inbox: _Inbox) -> None:
        carried: list[Delivery] = []
        try:
            while not inbox.closed:
                handler = self._handler(partition)
                carried = await self._serve(handler, inbox, carried)
                if not inbox.closed:
                    log.warning("partition_deposed", partition=partition, carried=len(carried))
                    # Whoever deposed us may be right: by then the group has told us.
                    await inbox.wait_closed(self._app.kafka.session_timeout_s / 3)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._app.fail("partition_handler_raised", error)

    async def _serve(
        self, handler: PartitionHandler, inbox: _Inbox, carried: list[Delivery]
    ) -> list[Delivery]:
        """Let a handler work until the inbox is closed or it is deposed; return what is left."""
        try:
            await handler.open()
            while not inbox.closed:
                deliveries = carried or await inbox.take(handler.wakeup_s())
                carried = []
                if not inbox.closed:
                    await handler.handle(deliveries)
        except OwnershipLostError as error:
            log.warning("ownership_lost", code=error.code, reason=str(error))
        return carried or handler.unfinished()


class _Inbox:
    """A bounded queue that gives away all it holds at once."""

    def __init__(self) -> None:
        self.closed = False
        self._waiting: deque[Delivery] = deque()
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()
        self._closing = asyncio.Event()

    def put(self, delivery: Delivery, *, force: bool = False) -> bool:
        if len(self._waiting) >= INBOX_MAX and not force:
            return False
        self._waiting.append(delivery)
        self._filled.set()
        return True

    async def wait_for_room(self) -> None:
        while len(self._waiting) >= INBOX_MAX and not self.closed:
            self._taken.clear()
            await self._taken.wait()

    async def take(self, timeout_s: float | None) -> list[Delivery]:
        """What waits, at most a batch; empty after ``timeout_s`` or when the inbox was closed."""
        if not self._waiting and not self.closed:
            self._filled.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._filled.wait()
            except TimeoutError:
                return []
        count = min(len(self._waiting), BATCH_MAX)
        taken = [self._waiting.popleft() for _ in range(count)]
        self._taken.set()
        return taken

    async def wait_closed(self, timeout_s: float) -> None:
        """Until it is closed, at most so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._closing.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        self.closed = True
        self._closing.set()
        self._filled.set()
        self._taken.set()
