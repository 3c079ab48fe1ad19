"""Keeps a replica's memory up to date: first from the owners' checkpoints, then live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from orchestrator.api.replica.live_tasks import LiveTasks
from orchestrator.api.replica.metrics import REPLICA_LAG, REPLICA_TASKS
from orchestrator.api.replica.projection import Projection
from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.records import TaskEvent, TaskId
from schemas.topics import Topics, dlq
from sinks.errors import SinkUnavailableError
from streams.errors import (
    KafkaUnavailableError,
    LogLostError,
    LogTrimmedError,
    SnapshotUnreadableError,
    TopicReplacedError,
)
from streams.history.acceptance import OWNER_WINDOW
from streams.kafka.admin import Admin
from streams.kafka.follower import FollowedTooLateError, Follower, Place
from streams.kafka.log_reader import LogReader
from streams.kafka.partitioner import partition_of
from streams.kafka.patience import Patience
from streams.kafka.topic_ids import Identity
from streams.ownership.ports import Logged
from streams.ownership.recovery import Recovery
from streams.ownership.state_record import read_state
from streams.settings import KafkaSettings
from tasks.pipeline import Pipelines

log = structlog.get_logger()

_RESTART_S = 1.0
_LOOK_AT_TOPICS_S = 5.0
_FOR_OPERATORS = (LogLostError, LogTrimmedError, SnapshotUnreadableError, TopicReplacedError)
_HOUSEKEEPING_S = 1.0
_HOUSEKEEPING_WAIT_S = 5.0
# Dead letters of creates are read only for the reason of a NOT_FOUND.
_DEAD_LETTERS_BACK = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFollowerParts:
    """The parts that a follower needs."""

    kafka: KafkaSettings
    topics: Topics
    pipelines: Pipelines
    router_group: str
    live: LiveTasks
    projection: Projection


class ReplicaFollower:
    """Feeds :class:`LiveTasks`. Runs for ever; without a broker the memory stays as it is."""

    def __init__(self, parts: ReplicaFollowerParts) -> None:
        self._parts = parts
        self._follower: Follower | None = None
        self._ready = asyncio.Event()

    @property
    def ready(self) -> bool:
        """True once all records from before the start have been read."""
        return self._ready.is_set()

    async def wait_ready(self) -> None:
        """Return when ready; unbounded: cancel it."""
        await self._ready.wait()

    async def run(self) -> None:
        """Follow until cancelled. Failures of Kafka are logged, and following begins again.

        Raises:
            TopicsDifferError: a checkpoint is of a system with other partitions. As after any
                other exception, memory is no longer up to date: the process must end.
        """
        tasks = [
            asyncio.create_task(self._keep_following()),
            asyncio.create_task(self._keep_house()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def caught_up(self, task_id: TaskId, *, timeout_s: float) -> None:
        """Return when memory holds everything that the logs have about a task now.

        Raises:
            KafkaUnavailableError: no broker answers.
        """
        topics = self._parts.topics
        partition = partition_of(task_id.encode(), topics.settings.partitions)
        names = (topics.task_created, topics.task_events, dlq(topics.task_created))
        await self._following().catch_up([(name, partition) for name in names], timeout_s=timeout_s)

    async def read_up_to(self, topic: str, partition: int, offset: int) -> None:
        """Return when the record at this offset was read; unbounded."""
        await self._following().reached({(topic, partition): offset + 1})

    def _following(self) -> Follower:
        if self._follower is None:
            raise KafkaUnavailableError("the logs are not followed yet")
        return self._follower

    async def _keep_following(self) -> None:
        starts: dict[Place, int] | None = None
        patience = Patience("logs")
        while True:
            try:
                starts = starts or await self._load()
                await self._follow(starts, patience)
            except FollowedTooLateError as error:
                log.warning("follower_begins_anew", code=error.code, reason=str(error)[:200])
                # Without the old follower: its positions belong to the memory that is dropped now.
                starts = self._follower = None
            except _FOR_OPERATORS as error:
                # Memory cannot be trusted: callers go to another replica, or wait.
                self._ready.clear()
                starts = self._follower = None
                await patience.pause(error)
            except KafkaUnavailableError as error:
                await patience.pause(error)
                if self._follower is not None and self._follower.positions:
                    starts = dict(self._follower.positions)
            await asyncio.sleep(_RESTART_S)

    async def _follow(self, starts: dict[Place, int], patience: Patience) -> None:
        kafka = self._parts.kafka
        async with Follower(kafka, client_id=f"{kafka.client_id}-api-follower") as follower:
            self._follower = follower
            tasks = [
                asyncio.create_task(follower.run(starts, self._take)),
                asyncio.create_task(self._catch_up(follower, list(starts), patience)),
                asyncio.create_task(self._watch_topics({topic for topic, _ in starts})),
            ]
            try:
                # Catching up ends on its own; when any other task ends, all of them end.
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in tasks:
                    if task.done():
                        task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_topics(self, topics: set[str]) -> None:
        """Compare the ids of the topics from time to time.

        Raises:
            FollowedTooLateError: a topic was deleted or made again, which a reader cannot see.
        """
        identity = Identity()
        while True:
            found: Mapping[str, str] | None = None
            # Only around the request: the error that is raised below is a subclass of this one.
            with suppress(KafkaUnavailableError):
                async with Admin(self._parts.kafka) as admin:
                    found = await admin.topic_ids(sorted(topics))
            ids = {} if found is None else {topic: found.get(topic) for topic in topics}
            if change := identity.look(ids):
                raise FollowedTooLateError(change)
            await asyncio.sleep(_LOOK_AT_TOPICS_S)

    async def _catch_up(
        self, follower: Follower, places: Sequence[Place], patience: Patience
    ) -> None:
        patience.over()
        if not self.ready:
            await follower.catch_up(places, timeout_s=self._parts.kafka.request_timeout_s * 4)
            self._ready.set()
            log.info("follower_ready", tasks=len(self._parts.live))

    def _take(self, records: Sequence[Origin]) -> None:
        self._parts.live.take(records)

    async def _load(self) -> dict[Place, int]:
        """Take snapshots; return the offset from which each partition has to be followed."""
        parts, topics, began = self._parts, self._parts.topics, time.monotonic()
        starts: dict[Place, int] = {}
        async with Admin(parts.kafka) as admin:
            ids = (
                await admin.topic_ids(
                    [*topics.router_inputs, topics.task_events, topics.task_state]
                )
                or {}
            )
        async with LogReader(parts.kafka, client_id=f"{parts.kafka.client_id}-api-loads") as reader:
            recoveries = await self._recoveries(reader)
            # Asked after the states were read: no state knows a record beyond these ends.
            bounds = await reader.all_bounds(
                [(topic, partition) for partition in recoveries for topic in self._followed()]
            )
            for partition, recovery in recoveries.items():
                created, events, letters, chunks = (
                    bounds[topic, partition] for topic in self._followed()
                )
                recovery.know_topics(committed={}, ends={topics.task_created: created[1]}, ids=ids)
                start = recovery.start_at(events[0])
                if recovery.owner_unknown:
                    recovery.find_owner(
                        await self._first_events(reader, partition, start, events[1])
                    )
                parts.live.begin(partition, recovery, start)
                starts[topics.task_events, partition] = start
                undecided = max(created[0], recovery.decided_created + 1)
                starts[topics.task_created, partition] = min(undecided, created[1])
                back = max(letters[0], letters[1] - _DEAD_LETTERS_BACK)
                starts[dlq(topics.task_created), partition] = back
                starts[topics.stream, partition] = chunks[1]
        seconds = round(time.monotonic() - began, 3)
        log.info("follower_loaded", tasks=len(parts.live), seconds=seconds)
        return starts

    def _followed(self) -> tuple[str, str, str, str]:
        topics = self._parts.topics
        return topics.task_created, topics.task_events, dlq(topics.task_created), topics.stream

    async def _first_events(
        self, reader: LogReader, partition: int, start: int, end: int
    ) -> list[Logged]:
        """The records by which an owner finds the writer of a log whose markers are gone."""
        topic, end = self._parts.topics.task_events, min(end, start + OWNER_WINDOW)
        return [
            _logged(record)
            async for records in reader.read(topic, partition, start, end)
            for record in records
        ]

    async def _recoveries(self, reader: LogReader) -> dict[int, Recovery]:
        """The newest state that the owner of each partition has stored."""
        topics = self._parts.topics
        recoveries = {
            partition: Recovery(
                pipelines=self._parts.pipelines,
                committed={},
                created_topic=topics.task_created,
                events_topic=topics.task_events,
                state_topic=topics.task_state,
                partitions=topics.settings.partitions,
            )
            for partition in range(topics.settings.partitions)
        }
        bounds = await reader.all_bounds([(topics.task_state, one) for one in recoveries])
        async for records in reader.read_all(bounds):
            for record in records:
                recoveries[record.partition].load(read_state(record))
        return recoveries

    async def _keep_house(self) -> None:
        """Forget tasks that the sink has written, and creates that were ignored."""
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            if self._follower is not None:
                for topic, records in self._follower.behind().items():
                    REPLICA_LAG.labels(topic).set(records)
            REPLICA_TASKS.set(len(self._parts.live))
            with suppress(SinkUnavailableError):  # ended tasks stay a little longer then
                self._parts.live.written(await self._parts.projection.next_offsets())
            if self._parts.live.undecided():
                with suppress(KafkaUnavailableError, TimeoutError):
                    await self._ask_commits()

    async def _ask_commits(self) -> None:
        topics = self._parts.topics
        places = [(topics.task_created, p) for p in range(topics.settings.partitions)]
        async with asyncio.timeout(_HOUSEKEEPING_WAIT_S), Admin(self._parts.kafka) as admin:
            found = await admin.committed(self._parts.router_group, places)
        self._parts.live.committed({partition: offset for (_, partition), offset in found.items()})


def _logged(record: Origin) -> Logged:
    try:
        return Logged(record.offset, decode(record.value, TaskEvent))
    except DecodeError:
        return Logged(record.offset, None)
