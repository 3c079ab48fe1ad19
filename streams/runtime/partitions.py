"""One asyncio task for each assigned partition: how the router and the sink work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from streams import metrics
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
    """Processes one partition while it is assigned to this process."""

    async def open(self) -> None:
        """Take the partition over: called once, before its first delivery."""

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Process deliveries in their order and acknowledge them.

        Called with an empty sequence when :meth:`wakeup_s` has passed. May be cancelled at a
        rebalance; what was not acknowledged is delivered again. After an OwnershipLostError a new
        handler takes over. After an error of a broker that is down or refuses, or an error that
        waits for an operator, a new handler takes over after a pause. Any other exception stops
        the process.
        """

    def unfinished(self) -> list[Delivery]:
        """The deliveries that it took and has not acknowledged, in offset order for each topic.

        Called on a handler that makes way. Its successor begins with these deliveries, followed by
        the last ones that the handler was given and neither kept nor acknowledged.
        """

    def wakeup_s(self) -> float | None:
        """Seconds until :meth:`handle` has to be called again; None: only for deliveries."""


class Partitions:
    """Hands deliveries to the handler of their partition, in order, one batch at a time.

    Deliveries that arrive while a handler works join its next batch. Handlers live from one
    rebalance to the next; a handler that was deposed in between is replaced while the group
    still assigns its partition to us.

    Args:
        app: the application whose partitions they are.
        handler: makes the handler of a partition.
        last: a topic whose deliveries wait while other deliveries exist (:class:`Inbox`), and
            that is not read while enough of its deliveries wait.
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
                # A partition that stands still has at most a few polls of records.
                if delivery.partition not in self._app.standing:
                    await inbox.wait_for_room()
                if delivery.stale():
                    delivery.discard()
                else:
                    inbox.put(delivery, force=True)

    def _goes_back(self, delivery: Delivery) -> bool:
        """Detect a topic that was made again: the client jumped to its first record."""
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
        metrics.forget_partitions()
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
        """Run a handler until the inbox closes or the handler makes way; return what remains."""
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
            # Another owner may have deposed us rightly: the group has reported that by then.
            await inbox.wait_closed(self._app.kafka.session_timeout_s / 3)
        except _MAKES_WAY as error:
            # Otherwise its records would fill its inbox, and block the reading of other partitions.
            self._app.standing.add(partition)
            inbox.make_room()
            await patience.pause(error, until=inbox.wait_closed)
        # The last deliveries may not have reached the handler, and some may be done already.
        left = handler.unfinished()
        known = set(left)
        return left + [d for d in deliveries if d in self._app.pending and d not in known]
