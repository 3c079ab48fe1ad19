"""Keeps the exported counts of this process's partitions up to date."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from sinks.counts.collector import CountsCollector
from sinks.errors import SinkError
from sinks.writer import Writer

log = structlog.get_logger()

_RANK_EVERY_S = 300.0


class CountsExport:
    """Reads the counts of the assigned partitions every few seconds. A ``Drainable``.

    The counts of a partition that leaves are shown no longer: its next owner shows them. While
    Postgres is down, the last ones stay.
    """

    def __init__(self, writer: Writer, collector: CountsCollector, *, every_s: float) -> None:
        self._writer = writer
        self._collector = collector
        self._every_s = every_s
        self._partitions: frozenset[int] = frozenset()
        self._changed = asyncio.Event()
        self._failing = False
        self._rank_due = time.monotonic() + _RANK_EVERY_S

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read until the block ends."""
        reading = asyncio.create_task(self._run(), name="counts-export")
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def drain(self, timeout_s: float) -> None:
        """Do nothing: no delivery is here."""

    def assigned(self, partitions: frozenset[int]) -> None:
        """Show these partitions only, and read them soon."""
        self._partitions = partitions
        kept = [row for row in self._collector.rows if row.log_partition in partitions]
        self._collector.show(kept)
        self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            await self._read()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._changed.wait()

    async def _read(self) -> None:
        partitions = self._partitions
        try:
            rows = await self._writer.counts(partitions) if partitions else []
            if time.monotonic() >= self._rank_due:
                await self._writer.rank_tenants()
                self._rank_due = time.monotonic() + _RANK_EVERY_S
        except SinkError as error:
            if not self._failing:
                log.warning("counts_not_read", code=error.code, reason=str(error))
            self._failing = True
            return
        # Nobody waits for this task: without a line the counts would stand still in silence.
        except Exception as error:
            if not self._failing:
                log.error("counts_not_read", code="INTERNAL", exc_info=error)
            self._failing = True
            return
        self._failing = False
        # A partition that left meanwhile is its next owner's.
        self._collector.show([row for row in rows if row.log_partition in self._partitions])
