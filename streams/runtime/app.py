"""The Faust application of one role, with the settings under which Faust loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Any, Protocol

import faust
import structlog
from faust.tables.manager import TableManager
from yarl import URL

from streams import metrics
from streams.errors import FaustVersionError, KafkaUnavailableError, TopicsDifferError
from streams.kafka.admin import Admin
from streams.kafka.connection import faust_credentials
from streams.kafka.log_reader import LogReader
from streams.kafka.positions import Place, PositionGap, gaps
from streams.runtime.consumer import Transport
from streams.runtime.delivery import Delivery
from streams.settings import KafkaSettings

FAUST_VERSION = "0.15.3"
_HEARTBEATS_PER_SESSION = 10
"""Kafka asks for at least three. A member learns of a rebalance from the answer to a heartbeat:
with three, the partitions of a dead process would be reassigned up to a third of a session
later."""
POLL_RECORDS_MAX = 500
_BUFFERED_POLLS_MAX = 8
# aiokafka leaves the group when no records are fetched for this time. Here fetching pauses while
# the lanes are full, which has no time limit; the watchdog finds a process that is stuck.
_MAX_POLL_INTERVAL_S = 10_000_000.0

# Far below the session timeout, because the other members wait meanwhile.
_POSITIONS_S = 2.0

log = structlog.get_logger()


class Drainable(Protocol):
    """Something that holds deliveries and can bring them to an end."""

    async def drain(self, timeout_s: float) -> None:
        """Finish deliveries in flight within ``timeout_s``, then cancel the rest. Never raises."""

    def assigned(self, partitions: frozenset[int]) -> None:
        """The group assigned these partitions to us; called after each rebalance."""


class _NoTables(TableManager):  # type: ignore[misc]
    """Faust's manager of tables, for an application that has none.

    Faust's own waits for a second at each start, so that agents may still declare theirs.
    """

    async def on_start(self) -> None:
        """Begin at once."""
        await self._update_channels()
        await self.recovery.start()


class App(faust.App):  # type: ignore[misc]
    """A Faust application whose rebalances are bounded and whose faults stop the process.

    ``pending`` holds the deliveries that were read and not yet acknowledged. A rebalance
    gives them ``drain_timeout_s``; the rest is let go and delivered again elsewhere.
    """

    def __init__(
        self,
        *args: Any,
        kafka: KafkaSettings,
        reads_committed: bool,
        copartitioned: bool,
        **kwargs: Any,
    ) -> None:
        self.kafka = kafka
        self.reads_committed = reads_committed
        self.copartitioned = copartitioned
        self.pending: set[Delivery] = set()
        self.drainables: list[Drainable] = []
        self.full_topics: Callable[[], frozenset[str]] = frozenset
        """Topics that must not be read now, because earlier records of theirs have not begun
        yet."""
        self.remembers: frozenset[str] = frozenset()
        """Topics that are not consumed, and whose offsets the process remembers."""
        self.standing: set[int] = set()
        """Partitions that must not be read now in any topic, because they wait for something."""
        self.on_lost_positions: Callable[[frozenset[int]], Awaitable[None]] | None = None
        """Called before partitions that hold records are read from their beginning, because the
        group has no position in them, or a position that they do not hold."""
        self.failed: asyncio.Event = asyncio.Event()
        self.leaves_group = False
        """True: the process ends so late that its membership has ended, too."""
        self.note: Callable[[], str] = str
        """Returns what this process says beside each offset that it commits, on one line; short
        (:mod:`streams.kafka.group_note`)."""
        self.owner_epochs: dict[int, int] = {}
        """By partition, the epoch of the last takeover that this process completed: it is committed
        with the offsets."""
        self.closing = False
        """True: no new work begins, and records that were read are let go."""
        self.epoch = 0
        """Counts the assignments. Unlike the group's generation it grows with each: a static
        member can get its partitions back in the same generation."""
        self._drain: tuple[int, asyncio.Task[None]] | None = None
        super().__init__(*args, **kwargs)
        self.on_partitions_assigned.connect(self._after_rebalance)

    def fail(self, reason: str, error: BaseException | None = None, *, leave: bool = False) -> None:
        """Stop the process: the outcome of its work is unknown. Its successor recovers.

        Args:
            reason: for the log.
            error: the cause.
            leave: the group has to reassign partitions before the successor comes. A member with a
                name would otherwise get its former partitions back.
        """
        self.leaves_group |= leave
        if not self.failed.is_set():
            code = {} if error is None else {"code": getattr(error, "code", "INTERNAL")}
            log.error("process_fails", reason=reason, **code, exc_info=error)
        self.failed.set()

    def not_assigned(self) -> str | None:
        """Why this process has no partitions to work on; None: it has what the group gives it."""
        if self.epoch == 0:
            return "the group has not assigned partitions yet"
        return "the group is rebalancing" if self.rebalancing else None

    def ending(self) -> str | None:
        """Why this process begins no new work; None: it does."""
        if self.failed.is_set():
            return "it fails, and will be started again"
        return "it stops" if self.closing else None

    def on_rebalance_start(self) -> None:
        """Begin the drain, before Faust waits for streams."""
        super().on_rebalance_start()
        self._begin_drain()

    async def drained(self) -> None:
        """Wait until the drain of this rebalance is over; begin it if it has not begun."""
        await self._begin_drain()

    async def close(self, grace_s: float) -> None:
        """Begin nothing more, finish running work within ``grace_s``, and commit.

        Work that is left is cancelled and delivered again to the next owner of its partition.
        """
        self.closing = True
        await self._drain_all(grace_s)
        await self.consumer.commit_all()

    def let_go(self) -> None:
        """Forget all deliveries without acknowledging them: they are delivered again."""
        for delivery in list(self.pending):
            delivery.discard()

    def _begin_drain(self) -> asyncio.Task[None]:
        if self._drain is None or self._drain[0] != self.epoch:
            drain = self._drain_all(self.kafka.drain_timeout_s)
            self._drain = self.epoch, asyncio.get_running_loop().create_task(drain)
        return self._drain[1]

    async def _drain_all(self, bound_s: float) -> None:
        """Finish all deliveries within the bound; let go of the others."""
        await asyncio.gather(*(drainable.drain(bound_s) for drainable in self.drainables))
        self.let_go()

    async def _on_partitions_assigned(self, assigned: Any, generation_id: int = 0) -> None:
        if self._drain is not None:
            await self._drain[1]
        # Before the first fetch, which silently moves a position that the log does not hold.
        await self._note_gaps([(tp.topic, tp.partition) for tp in assigned])
        self.epoch += 1
        await super()._on_partitions_assigned(assigned, generation_id)

    async def _note_gaps(self, assigned: Sequence[Place]) -> None:
        """Log which records were removed before this group read them. Bounded.

        A broker that does not answer in time is logged, and reading begins anyway.
        """
        group = self.conf.id
        client_id = f"{self.kafka.client_id}-{group}-positions"
        try:
            async with (
                asyncio.timeout(_POSITIONS_S),
                LogReader(
                    self.kafka, client_id=client_id, committed=self.reads_committed
                ) as reader,
                Admin(self.kafka) as admin,
            ):
                bounds = await reader.all_bounds(assigned)
                committed = await admin.committed(group, assigned)
        except (KafkaUnavailableError, TimeoutError) as error:
            log.warning("positions_unknown", group=group, reason=repr(error)[:200])
            return
        found = gaps(committed, bounds)
        for gap in found:
            self._tell(gap)
        await self.consumer.commit_back({(g.topic, g.partition): g.first for g in found})
        known = committed.keys() - {(gap.topic, gap.partition) for gap in found}
        lost = {p for (t, p), (first, end) in bounds.items() if first < end and (t, p) not in known}
        if lost and self.on_lost_positions is not None:
            try:
                async with asyncio.timeout(self.kafka.request_timeout_s):
                    await self.on_lost_positions(frozenset(lost))
            except (KafkaUnavailableError, TimeoutError) as error:
                log.warning("past_unknown", group=group, reason=repr(error)[:200])

    def _tell(self, gap: PositionGap) -> None:
        metrics.MISSING.labels(gap.topic).inc(gap.missing)
        log.error(
            "records_missing" if gap.missing else "committed_beyond_end",
            group=self.conf.id,
            topic=gap.topic,
            partition=gap.partition,
            committed=gap.committed,
            first=gap.first,
            end=gap.end,
            missing=gap.missing,
        )

    def _check_copartitioned(self, assigned: Iterable[Any]) -> None:
        """Fail if the topics have different partitions: one of the topics is missing."""
        by_topic: dict[str, set[int]] = {t: set() for c in self.topics for t in c.topics}
        for tp in assigned:
            by_topic[tp.topic].add(tp.partition)
        if self.copartitioned and len({frozenset(found) for found in by_topic.values()}) > 1:
            counts = ", ".join(f"{topic}: {len(found)}" for topic, found in by_topic.items())
            error = TopicsDifferError(f"partitions assigned of {counts}")
            self.fail("not_copartitioned", error, leave=True)

    async def _after_rebalance(self, _app: Any, assigned: Iterable[Any], **_: Any) -> None:
        assigned = list(assigned)
        partitions = frozenset(tp.partition for tp in assigned)
        self._check_copartitioned(assigned)
        log.info(
            "partitions_assigned",
            group=self.conf.id,
            partitions=sorted(partitions),
            generation=self.consumer_generation_id,
        )
        for drainable in self.drainables:
            # A closing process takes no partition over, whatever the group still assigns to it.
            drainable.assigned(frozenset() if self.closing else partitions)

    def _create_directories(self) -> None:
        """Do nothing: Faust would store nothing there, and the folder may be read-only."""

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)


def create_app(
    group: str,
    kafka: KafkaSettings,
    *,
    poll_records_max: int = POLL_RECORDS_MAX,
    reads_committed: bool = True,
    copartitioned: bool = False,
) -> App:
    """Build the application of one consumer group.

    Args:
        group: the consumer group and Faust's app id: one for each role.
        kafka: the brokers and the timeouts.
        poll_records_max: records that are read at a time, at most ``POLL_RECORDS_MAX``.
        reads_committed: see :func:`~streams.kafka.consumers.isolation_level`.
        copartitioned: each assignment must bring the same partitions of all topics.

    Raises:
        FaustVersionError: another version of Faust is installed.
    """
    installed = version("faust-streaming")
    if installed != FAUST_VERSION:
        raise FaustVersionError(f"faust-streaming is {installed}, this needs {FAUST_VERSION}")
    return App(
        group,
        kafka=kafka,
        reads_committed=reads_committed,
        copartitioned=copartitioned,
        broker=[URL(f"kafka://{server}") for server in kafka.servers],
        broker_credentials=faust_credentials(kafka),
        broker_client_id=f"{kafka.client_id}-{group}",
        broker_commit_interval=kafka.commit_interval_s,
        broker_heartbeat_interval=kafka.session_timeout_s / _HEARTBEATS_PER_SESSION,
        broker_max_poll_interval=_MAX_POLL_INTERVAL_S,
        broker_max_poll_records=min(poll_records_max, POLL_RECORDS_MAX),
        broker_request_timeout=kafka.request_timeout_s,
        broker_session_timeout=kafka.session_timeout_s,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=kafka.instance_id or None,
        # Faust's own store of table data is never used.
        store="memory://",
        key_serializer="raw",
        value_serializer="raw",
        # Faust's levels warn and error would set the root logger to DEBUG.
        loghandlers=[],
        producer_request_timeout=kafka.request_timeout_s,
        stream_buffer_maxsize=_BUFFERED_POLLS_MAX,
        stream_wait_empty=True,
        # Standbys are for tables, which we do not use; above 0, Faust's own assignor is enabled.
        table_standby_replicas=0,
        TableManager=_NoTables,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
