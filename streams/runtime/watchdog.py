"""Ends a process that reads a replaced topic, or that reads nothing although records wait.

Kafka clients were seen to stop reading without an error, after days. A client also does not
report that its topic was deleted or made again: it waits at an offset that does not come. The
supervisor restarts the process, which then compares the offsets that it remembers with Kafka.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog

from streams import metrics
from streams.errors import KafkaUnavailableError, ReadingStalledError, TopicReplacedError
from streams.kafka.admin import Admin
from streams.kafka.log_reader import LogReader
from streams.kafka.open_transactions import OpenTransactions
from streams.kafka.topic_ids import Identity
from streams.runtime.app import App

log = structlog.get_logger()

_LOOKS = 4
"""Looks in one timeout: a stall is found at most a fourth of the timeout late."""


async def watch(app: App) -> None:
    """Look at an application until it is stuck; then fail it, and return.

    An application whose reading is paused on purpose is not stuck: full lanes, an agent that is
    behind, a rebalance, the end of the process. A broker that does not answer does not count
    either.
    """
    timeout_s = app.kafka.stall_timeout_s
    stall, identity, transactions = Stall(timeout_s), Identity(), OpenTransactions()
    while True:
        _look_at_transactions(app, transactions)
        if change := identity.look(await _topic_ids(app)):
            app.fail("topic_changed", TopicReplacedError(change), leave=True)
            return
        await asyncio.sleep(timeout_s / _LOOKS)
        began_s = time.monotonic()
        lag = await _lag(app, quiet_since_s=began_s - timeout_s / _LOOKS)
        if stall.look(began_s, last_read_s=app.consumer.last_read_s, lag=lag):
            error = ReadingStalledError(f"{lag} records wait, none was read for {timeout_s} s")
            app.fail("reading_stalled", error)
            return


class Stall:
    """Measures how long records wait without a read. Pure."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._since_s: float | None = None

    def look(self, now_s: float, *, last_read_s: float, lag: int) -> bool:
        """True if records waited for the whole timeout without a read.

        Args:
            now_s: monotonic, as is ``last_read_s``.
            last_read_s: when a record was read last.
            lag: records that wait and may be read; 0 also if the number is unknown.
        """
        if lag <= 0:
            self._since_s = None
            return False
        if self._since_s is None or last_read_s >= self._since_s:
            self._since_s = now_s
        return now_s - self._since_s >= self._timeout_s


def _look_at_transactions(app: App, transactions: OpenTransactions) -> None:
    """Log which records an open transaction of a stranger holds back, and since when."""
    if not app.reads_committed:
        return
    ends = app.consumer.ends()
    for (topic, partition), (stable, end) in ends.items():
        metrics.HELD_UP.labels(topic, str(partition)).set(end - stable)
    for held in transactions.look(time.monotonic(), ends):
        log.warning(
            "transaction_open",
            group=app.conf.id,
            topic=held.topic,
            partition=held.partition,
            at=held.at,
            held_up=held.records,
            since_s=round(held.since_s),
        )


async def _topic_ids(app: App) -> Mapping[str, str | None]:
    """The ids of the topics that are read; asks with a client of its own."""
    consumed = {name for channel in app.topics for name in channel.topics}
    topics = sorted(consumed | app.remembers)
    try:
        async with Admin(app.kafka) as admin:
            found = await admin.topic_ids(topics)
    except KafkaUnavailableError:
        return {}
    return {} if found is None else {topic: found.get(topic) for topic in topics}


async def _lag(app: App, *, quiet_since_s: float) -> int:
    """The records that wait at the broker, 0 if unknown; asks with a client of its own."""
    partitions = app.consumer.readable()
    if not partitions or app.consumer.last_read_s >= quiet_since_s:
        return 0
    try:
        client_id, committed = f"{app.kafka.client_id}-watchdog", app.reads_committed
        async with LogReader(app.kafka, client_id=client_id, committed=committed) as reader:
            ends = await reader.ends(list(partitions))
    except KafkaUnavailableError as error:
        log.warning("lag_unknown", group=app.conf.id, code=error.code)
        return 0
    return int(app.consumer.unread(ends))
