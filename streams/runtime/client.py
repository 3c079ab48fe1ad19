"""The client of Kafka in Faust's consumer, in the application's own event loop.

Faust runs it in a thread with an event loop of its own. Each poll was then a call over to that
thread and back: at small rates a third to a half of a process's CPU time (``docs/adr/0002``).
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from mode.services import Service, ServiceTask

from streams.kafka.consumers import isolation_level
from streams.kafka.fetch.records import install
from streams.kafka.fetch.waiting import let_fetches_wait
from streams.kafka.group_note import written_epoch, written_note

# While a fetch waits, it gets no new records for partitions that were left out because their
# records still waited in the client. Faust's 1.5 s would starve a lane that has just become free.
_FETCH_WAIT_MS = 200
# Where nothing comes, nothing is left out; only partitions that are assigned meanwhile wait for it.
_IDLE_FETCH_WAIT_MS = 1_000
_IDLE_AFTER_S = 5.0


class InLoop(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's thread without the thread: a service of the event loop that starts it.

    A call that Faust sends to its thread runs here at once. As there, it goes on when its caller is
    cancelled: half a commit or half a seek would leave the client in an unknown state. A fetch is
    cancelled with its caller; it takes records out of the client's memory and returns them in one
    step.
    """

    wait_for_shutdown = False

    # What the base class overrides for its thread.
    start = Service.start
    maybe_start = Service.maybe_start
    stop = Service.stop
    crash = Service.crash
    set_shutdown = Service.set_shutdown
    _stopped_set = Service._stopped_set
    _stop_children = Service._stop_children
    _stop_futures = Service._stop_futures
    _stop_exit_stacks = Service._stop_exit_stacks

    def __init__(self, consumer: Any, *, loop: asyncio.AbstractEventLoop, beacon: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, beacon=beacon)

    def _get_tasks(self) -> Iterable[ServiceTask]:
        """None: those of the base class keep its thread's event loop awake."""
        return ()

    async def on_stop(self) -> None:
        """Close the client."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function or a coroutine function, and return what it returns."""
        result = fun(*args, **kwargs)
        return await asyncio.shield(result) if inspect.isawaitable(result) else result

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:
        """Records of these partitions by partition, as soon as there are some.

        Args:
            active_partitions: those that may be read.
            timeout: in seconds; after it the result is empty.
        """
        client = self._ensure_consumer()
        return await self._fetch_records(
            client, active_partitions, timeout=timeout, max_records=client._max_poll_records
        )


def protocol_of(topics: Iterable[str]) -> str:
    """The name of the assignment protocol of members with these topics. Pure."""
    told = "\n".join(sorted(topics)).encode()
    return f"{RangePartitionAssignor.name}.{hashlib.sha256(told).hexdigest()[:12]}"


class RangeConsumer(InLoop):
    """Assigns by range: one process gets the same partition of all co-partitioned topics.

    For an application without tables Faust assigns round robin, which splits partition *i* of
    several topics between members. Faust also reads records of uncommitted transactions. This
    class replaces both settings of the aiokafka consumer before it starts.
    """

    def _create_worker_consumer(self, transport: Any) -> Any:
        install()
        consumer = super()._create_worker_consumer(transport)
        self._by_topics: Any = type("RangeOfTopics", (RangePartitionAssignor,), {})
        replaced = {
            "_partition_assignment_strategy": [self._by_topics, RangePartitionAssignor],
            "_fetch_max_wait_ms": _FETCH_WAIT_MS,
            "_isolation_level": isolation_level(committed=transport.app.reads_committed),
        }
        for name, value in replaced.items():
            if not hasattr(consumer, name):
                raise RuntimeError(f"aiokafka has no {name}: check the pin")
            setattr(consumer, name, value)
        self._app, self._committed = transport.app, dict[TopicPartition, int]()
        consumer.commit = partial(self._commit_with_note, consumer.commit)
        return consumer

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe to topics.

        A member with a name that comes back gets its old assignment from the broker, unless the
        protocol that the group chooses changes. So the name of the protocol tells the topics: a
        member that comes back with other topics begins a rebalance. ``range`` stays beside it for
        the time in which members differ, and for older versions.
        """
        topics = set(topics)
        self._by_topics.name = protocol_of(topics)
        await super().subscribe(topics)

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:
        """As the base class; fetches wait longer while no record comes for some seconds."""
        idle = time.monotonic() - self.consumer.last_read_s > _IDLE_AFTER_S
        let_fetches_wait(self._ensure_consumer(), _IDLE_FETCH_WAIT_MS if idle else _FETCH_WAIT_MS)
        return await super().getmany(active_partitions, timeout)

    async def seek_to_committed(self) -> Any:
        """Seek back to the committed offsets, and to the beginning of a partition without one.

        Faust does not move a partition without a committed offset. Records that a poll had just
        brought during a rebalance were then dropped, and the next commit went past them.
        """
        return await self.call_thread(self._seek_back)

    async def _commit_with_note(
        self, commit: Callable[..., Awaitable[None]], offsets: Mapping[TopicPartition, Any]
    ) -> None:
        """Commit offsets, each with the epoch of its partition's owner or the process's note."""
        note, epochs = written_note(self._app.note(), time.time()), self._app.owner_epochs
        wanted = {tp: at if isinstance(at, int) else at.offset for tp, at in offsets.items()}
        beside = {
            tp: written_epoch(epochs[tp.partition]) for tp in wanted if tp.partition in epochs
        }
        await commit(
            {tp: OffsetAndMetadata(offset, beside.get(tp, note)) for tp, offset in wanted.items()}
        )
        self._committed.update(wanted)

    async def commit_back(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit offsets, whatever is committed now."""
        consumer = self._ensure_consumer()
        await consumer.commit({TopicPartition(*tp): offset for tp, offset in offsets.items()})

    async def commit_note(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit these offsets but those that a commit has passed meanwhile."""
        places = {TopicPartition(*place): offset for place, offset in offsets.items()}
        known = self._committed
        current = {tp: offset for tp, offset in places.items() if offset >= known.get(tp, 0)}
        if current:
            await self._ensure_consumer().commit(current)

    async def _seek_back(self) -> dict[TopicPartition, int | None]:
        consumer = self._ensure_consumer()
        assigned = list(consumer.assignment())
        found = await consumer._coordinator.fetch_committed_offsets(assigned) if assigned else {}
        # Another rebalance may have taken partitions away meanwhile; it seeks for itself.
        committed = {
            tp: found[tp].offset if tp in found and found[tp].offset > 0 else None
            for tp in consumer.assignment() & set(assigned)
        }
        for tp, offset in committed.items():
            if offset is not None:
                consumer.seek(tp, offset)
        if without := [tp for tp, offset in committed.items() if offset is None]:
            # Nothing of these is read before their first offset is known. Waiting for it here
            # would hold up all others by a fetch that is under way.
            consumer._fetcher.request_offset_reset(without, OffsetResetStrategy.EARLIEST)
        return committed
