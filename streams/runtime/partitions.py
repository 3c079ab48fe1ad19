"""One asyncio task for each assigned partition: how the router and the sink work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from streams.errors import (
    ClockDiffersError,
    KafkaUnavailableError,
    LogLostError,
    LogTrimmedError,
    OwnershipLostError,
    PublishRefusedError,
    SnapshotUnreadableError,
    TopicReplacedError,
)
from streams.kafka.patience import Patience
from streams.runtime.app import App
from streams.runtime.delivery import Delivery
from streams.runtime.inbox import BATCH_MAX, Inbox

log = structlog.get_logger()

_MAKES_WAY = (
    KafkaUnavailableError,
    PublishRefusedError,
    # These need an operator. The partition stands still until then, the others go on.
    ClockDiffersError,
    LogLostError,
    LogTrimmedError,
    SnapshotUnreadableError,
    TopicReplacedError,
)


class PartitionHandler(Protocol):
    """What is done with one partition while it is ours."""

    async def open(self) -> None:
        """Take the partition over: called once, before its first delivery."""

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Process deliveries in their order and acknowledge them.

        Called with an empty sequence when :meth:`wakeup_s` has passed. May be cancelled at a
        rebalance; what was not acknowledged is delivered again. OwnershipLostError makes
        way for a new handler; so do, after a pause, the errors of a broker that is away or
        refuses, and those that wait for an operator. Any other exception stops the process.
        """

    def unfinished(self) -> list[Delivery]:
        """What it took and has not acknowledged, in offset order for each topic.

        Asked of a handler that made way; its successor begins with these, followed by what
        the handler was given last and neither kept nor acknowledged.
        """

    def wakeup_s(self) -> float | None:
        """Seconds until :meth:`handle` wants to be called again; None: only for deliveries."""


class Partitions:
    """Hands deliveries to the handler of their partition, in order, one batch at a time.

    What arrives while a handler works joins its next batch. Handlers live from one rebalance
    to the next; one that was deposed in between is replaced, as long as the group still
    assigns its partition to us.

    Args:
        app: whose partitions they are.
        handler: makes one for a partition.
        last: a topic whose deliveries wait while there are others (:class:`Inbox`), and that
            is not read while enough of them do.
        batch_max: deliveries in one batch.
    """

    def __init__(
        self,
        app: App,
        handler: Callable[[int], PartitionHandler],
        *,
        last: str | None = None,
        batch_max: int = BATCH_MAX,
    ) -> None:
        self._app = app
        self._handler = handler
        self._last = last
        self._batch_max = batch_max
        self._inboxes: dict[int, Inbox[Delivery]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._read: dict[tuple[str, int], int] = {}
        """The last offset of each topic's partition since the assignment."""
        app.drainables.append(self)
        app.full_topics = self._full_topics

    async def give(self, batch: Sequence[Delivery]) -> None:
        """Put deliveries into their partitions' inboxes; waits while one of them is full."""
        for delivery in batch:
            if self._goes_back(delivery):
                return
            inbox = self._inboxes.get(delivery.partition)
            if inbox is None or delivery.stale():
                delivery.discard()
                continue
            if not inbox.put(delivery):
                # What was polled already of a partition that stands still is a few polls at most.
                if delivery.partition not in self._app.standing:
                    await inbox.wait_for_room()
                if delivery.stale():
                    delivery.discard()
                else:
                    inbox.put(delivery, force=True)

    def _goes_back(self, delivery: Delivery) -> bool:
        """Notice a topic that was made again: the client began with its first record by itself."""
        if delivery.stale():
            return False
        place = delivery.topic, delivery.partition
        last = self._read.get(place, -1)
        self._read[place] = max(last, delivery.offset)
        if delivery.offset > last:
            return False
        reason = f"{delivery.topic}[{delivery.partition}] came to {delivery.offset} after {last}"
        self._app.fail("topic_changed", TopicReplacedError(reason), leave=True)
        return True

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
        self._read.clear()
        for partition in partitions:
            inbox = self._inboxes[partition] = Inbox[Delivery](
                self._last, batch_max=self._batch_max
            )
            self._tasks[partition] = asyncio.create_task(
                self._run(partition, inbox), name=f"partition-{partition}"
            )

    def _full_topics(self) -> frozenset[str]:
        if self._last is None or not any(
            inbox.enough_of_last
            for partition, inbox in self._inboxes.items()
            if partition not in self._app.standing
        ):
            return frozenset()
        return frozenset((self._last,))

    async def _run(self, partition: int, inbox: Inbox[Delivery]) -> None:
        carried: list[Delivery] = []
        patience = Patience("partition", group=self._app.conf.id, partition=partition)
        try:
            while not inbox.closed:
                handler = self._handler(partition)
                carried = await self._serve(partition, handler, inbox, carried, patience)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._app.fail("partition_handler_raised", error)
        finally:
            patience.over()
            self._app.standing.discard(partition)

    async def _serve(
        self,
        partition: int,
        handler: PartitionHandler,
        inbox: Inbox[Delivery],
        carried: list[Delivery],
        patience: Patience,
    ) -> list[Delivery]:
        """Let a handler work until the inbox is closed or it makes way; return what is left."""
        deliveries = carried
        try:
            await handler.open()
            self._app.standing.discard(partition)
            while not inbox.closed:
                deliveries = carried or await inbox.take(handler.wakeup_s())
                carried = []
                if not inbox.closed:
                    await handler.handle(deliveries)
                    deliveries = []
                    patience.over()
        except OwnershipLostError as error:
            log.warning("ownership_lost", code=error.code, reason=str(error))
            # Whoever deposed us may be right: by then the group has told us.
            await inbox.wait_closed(self._app.kafka.session_timeout_s / 3)
        except _MAKES_WAY as error:
            # Else what is read for it would fill its inbox, and keep others from being read.
            self._app.standing.add(partition)
            inbox.make_room()
            await patience.pause(error, until=inbox.wait_closed)
        # What it was given last may not have reached it, and some of that may be done already.
        left = handler.unfinished()
        known = set(left)
        return left + [d for d in deliveries if d in self._app.pending and d not in known]
