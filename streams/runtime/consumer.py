"""Faust's consumer, corrected where our delivery promise needs it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from faust.transport.drivers import aiokafka as driver

from streams.runtime.client import RangeConsumer
from streams.runtime.delivery import Delivery

log = structlog.get_logger()

_HELD_POLL_S = 0.02
_STANDING_POLL_S = 0.2
_POLL_S = 1.0


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Reads as much as fits, hands over each poll whole, and commits everything that is done.

    - A poll goes to the agent as one list of deliveries. Faust would pass on each record by
      itself, through several coroutines: a good half of the CPU of a busy process.
    - The position of a partition is the offset after its last acknowledgement, which come in the
      order of the offsets. Nothing else is committed: not records that were read and not taken,
      and not records that were acknowledged under an earlier assignment.
    - Acknowledged records are committed before a rebalance takes the partitions away. Faust
      forgets these acknowledgements first, and the next owner would do the work again.
    - Full topics are not read. Pausing Faust's partitions instead drops records that were
      fetched and not yet handed over, and commits past them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.last_read_s = time.monotonic()
        """When a record was read last, on the monotonic clock."""
        self._positions: dict[Any, int] = {}

    def done(self, tp: Any, offset: int) -> None:
        """Note that a record, and every record before it in its partition, is done."""
        self._positions[tp] = max(offset + 1, self._positions.get(tp, 0))

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Finish the work in flight and commit it, then let the partitions go."""
        if revoked and not self.app.should_stop:
            self.stop_flow()
            self.app.flow_control.suspend()
            self.app.flow_control.clear()
            await self.app.drained()
            await self.commit_all()
        for tp in revoked:
            self._positions.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    async def commit_all(self) -> None:
        """Commit everything that is acknowledged now; bounded, and never raises.

        Acknowledgements that cannot be committed in time are delivered again.
        """
        try:
            async with asyncio.timeout(self.app.kafka.request_timeout_s):
                # A commit that already runs does not include the newest acknowledgements.
                await self.maybe_wait_for_commit_to_finish()
                await self.commit()
        except TimeoutError:
            log.error("commit_timed_out", group=self.app.conf.id)

    async def commit_back(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit offsets that lie before the committed ones; bounded, and never raises.

        A group whose position lies beyond the end of a partition reads from the beginning. Without
        this commit the position would stay, and after a restart the group would skip new records.
        """
        if not offsets:
            return
        try:
            # While there is no coordinator, aiokafka tries again for ever.
            async with asyncio.timeout(self.app.kafka.request_timeout_s):
                await self._thread.call_thread(self._thread.commit_back, offsets)
        except Exception as error:
            log.error("not_committed_back", group=self.app.conf.id, exc_info=error)

    async def commit_note(self) -> None:
        """Commit where this process stands in each partition, so that the note gets to the broker.

        Bounded, and never raises. The offsets are those that are committed anyway: nothing has to
        be acknowledged for it. A partition in which this process has read nothing gets no note.
        """
        heads = {(tp.topic, tp.partition): offset for tp, offset in self._positions.items()}
        for delivery in self.app.pending:
            place = delivery.topic, delivery.partition
            heads[place] = min(delivery.offset, heads.get(place, delivery.offset))
        if not heads:
            return
        try:
            # While there is no coordinator, aiokafka tries again for ever.
            async with asyncio.timeout(self.app.kafka.request_timeout_s):
                await self._thread.call_thread(self._thread.commit_note, heads)
        except Exception as error:
            log.warning("note_not_committed", group=self.app.conf.id, reason=repr(error)[:200])

    def unread(self, ends: Mapping[Any, int]) -> int:
        """Count the records that wait at the broker in partitions that may be read now.

        Args:
            ends: the end of each assigned partition; one that is missing counts as read.
        """
        subscription = self._thread._ensure_consumer()._subscription.subscription
        if subscription is None or subscription.assignment is None:
            return 0
        lag = 0
        for tp in self.readable():
            state = subscription.assignment.state_value(tp)
            if state is not None and state.has_valid_position:
                lag += max(0, ends.get(tp, 0) - state.position)
        return lag

    def ends(self) -> dict[tuple[str, int], tuple[int, int]]:
        """The last stable offset and the end of each partition, as of the last fetch."""
        subscription = self._thread._ensure_consumer()._subscription.subscription
        if subscription is None or subscription.assignment is None:
            return {}
        found = {}
        for tp in subscription.assignment.tps:
            state = subscription.assignment.state_value(tp)
            if state.lso is not None and state.highwater is not None and state.lso >= 0:
                found[tp.topic, tp.partition] = (state.lso, state.highwater)
        return found

    def readable(self) -> frozenset[Any]:
        """The assigned partitions whose reading is not paused."""
        if not self.flow_active or self.app.rebalancing or self.app.closing:
            return frozenset()
        # While the queue of one agent is full, Faust reads for no agent.
        if any(topic.queue.full() for topic in self.app.topics):
            return frozenset()
        full = self.app.full_topics()
        # Faust removes the partitions of agents that are behind; they are paused, not stuck.
        return frozenset(
            tp
            for tp in self._get_active_partitions()
            if tp.topic not in full and tp.partition not in self.app.standing
        )

    def _new_consumer_thread(self) -> RangeConsumer:
        return RangeConsumer(self, loop=self.loop, beacon=self.beacon)

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Do nothing: Faust counts events here. See ``streams.runtime.watchdog``."""

    async def wait_empty(self) -> None:
        """Commit. The caller has finished the deliveries before."""
        await self.commit_and_end_transactions()

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> list[Any]:
        return list(self._positions)

    def _new_offset(self, tp: Any) -> int | None:
        return self._positions.get(tp)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Read until ``fetcher`` is stopped; Faust's fetcher runs this."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._poll()
        except (asyncio.CancelledError, *self.consumer_stopped_errors):
            if not self.app.should_stop:
                raise

    async def _poll(self) -> None:
        records, _ = await self._wait_next_records(_POLL_S)
        # A poll whose records are already there never yields to other coroutines.
        await asyncio.sleep(0)
        if self.should_stop:
            return
        if not self.flow_active:
            await self._seek_back()
        elif records:
            await self._hand_over(records)

    async def _seek_back(self) -> None:
        """Read the records of the last poll again after the current rebalance."""
        try:
            await self.perform_seek()
        except Exception as error:
            log.warning("seek_failed", group=self.app.conf.id, exc_info=error)

    async def _hand_over(self, records: Mapping[Any, Sequence[Any]]) -> None:
        flow = self.app.flow_control
        if not flow.is_active():
            # Records that are put in before the flow resumes are cleared away.
            await self.wait_first(flow.acquire(), self.suspend_flow.wait())
            if not self.flow_active:
                return
        polled = [
            Delivery(self.app, tp, record) for tp, found in records.items() for record in found
        ]
        [channel] = self.app.topics
        if channel.queue.full():
            await self.wait_first(channel.queue.put(polled), self.suspend_flow.wait())
        else:
            channel.queue.put_nowait(polled)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        full, standing = self.app.full_topics(), self.app.standing
        wanted = active_partitions
        if (full or standing) and active_partitions:
            wanted = {
                tp
                for tp in active_partitions
                if tp.topic not in full and tp.partition not in standing
            }
            # Short, so that a lane is read again soon after it has room.
            bound_s = _HELD_POLL_S if full else _STANDING_POLL_S
            timeout = min(timeout, bound_s)
            if not wanted:
                await self.sleep(bound_s)
                return {}
        records = await super()._getmany(wanted, timeout)
        if records:
            self.last_read_s = time.monotonic()
        return records


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with our consumer."""

    Consumer = Consumer
