"""Watches all consumer groups of a system: how far each is behind, and whether anyone reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from prometheus_client import Gauge

from orchestrator.layout import consumer_groups
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings
from schemas.errors import OrchestratorError
from streams.kafka.admin import Admin
from streams.kafka.group_reading import group_positions
from streams.kafka.lag import LagAges
from streams.kafka.log_reader import LogReader
from streams.kafka.positions import Place, lag_by_place

log = structlog.get_logger()

_LOOK_TIMEOUT_S = 60.0

LAG_RECORDS = Gauge(
    "orchestrator_group_lag_records",
    "Records that a consumer group has not committed yet.",
    ["group", "topic", "partition"],
)
LAG_AGE_SECONDS = Gauge(
    "orchestrator_group_oldest_unread_age_seconds",
    "For how long the oldest record that a group has not committed has been in its partition.",
    ["group", "topic", "partition"],
)
MEMBERS = Gauge("orchestrator_group_members", "Members of a consumer group.", ["group"])
PARTITIONS = Gauge(
    "orchestrator_partitions", "Partitions of the tasks; each has an owner, if all is well."
)
LOOKED_AT = Gauge(
    "orchestrator_groups_watched_timestamp_seconds",
    "When the consumer groups were read last, in seconds since 1970.",
)


class GroupWatch:
    """Reads the positions of all groups of a system, and sets their gauges."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._groups = consumer_groups(settings, installed_pipelines(settings.pipelines))
        self._ages: dict[str, LagAges] = {group: LagAges() for group in self._groups}

    async def look(self) -> None:
        """Look once.

        Raises:
            KafkaUnavailableError: no broker answers; the gauges keep their values.
        """
        kafka = self._settings.kafka
        PARTITIONS.set(self._settings.topics.partitions)
        client_id = f"{kafka.client_id}-groups"
        async with (
            LogReader(kafka, client_id=client_id, committed=False) as reader,
            Admin(kafka) as admin,
        ):
            for group, members in (await admin.members(list(self._groups))).items():
                MEMBERS.labels(group).set(members)
            async for group, committed, bounds in group_positions(reader, admin, self._groups):
                self._show(group, committed, bounds)
        LOOKED_AT.set_to_current_time()

    def _show(
        self, group: str, committed: dict[Place, int], bounds: dict[Place, tuple[int, int]]
    ) -> None:
        now_s, ages = time.monotonic(), self._ages[group]
        ages.look(now_s, {place: end for place, (_, end) in bounds.items()})
        for place, unread in lag_by_place(committed, bounds).items():
            labels = (group, place[0], str(place[1]))
            LAG_RECORDS.labels(*labels).set(unread)
            position = bounds[place][1] - unread
            LAG_AGE_SECONDS.labels(*labels).set(ages.age_s(now_s, place, position))


@asynccontextmanager
async def watched_groups(settings: Settings) -> AsyncIterator[None]:
    """Watch inside the block, every ``ORCH_METRICS_LAG_INTERVAL_S``; a failed look is logged."""
    interval_s = settings.metrics.lag_interval_s
    if not (settings.metrics.enabled and interval_s > 0 and settings.kafka.bootstrap):
        yield
        return
    watching = asyncio.create_task(_watch(GroupWatch(settings), interval_s))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(watch: GroupWatch, interval_s: float) -> None:
    failed = False
    while True:
        try:
            async with asyncio.timeout(_LOOK_TIMEOUT_S):
                await watch.look()
            failed = False
        except (OrchestratorError, TimeoutError) as error:
            # Logged once: the metric for the last look goes on being old.
            if not failed:
                code = getattr(error, "code", "TIMEOUT")
                log.warning("groups_not_watched", code=code, reason=str(error)[:300])
            failed = True
        # Nobody waits for this task: without a line the watch would end in silence.
        except Exception as error:
            if not failed:
                log.error("groups_not_watched", code="INTERNAL", exc_info=error)
            failed = True
        await asyncio.sleep(interval_s)
