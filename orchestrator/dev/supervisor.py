"""Keeps processes running: one that ends is started again, a little later each time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog

from orchestrator.embedded.process import Child

log = structlog.get_logger()

_RESTART_MIN_S = 0.2
_RESTART_MAX_S = 5.0
# A process that lived for so long has not failed at its start: the next restart is quick.
_HEALTHY_AFTER_S = 30.0
_STOP_GRACE_S = 10.0


class Supervisor:
    """Starts children and restarts them until it is closed.

    An async context manager: leaving it stops all children, with SIGTERM first.
    """

    def __init__(self, children: Sequence[Child]) -> None:
        self.children = {child.name: child for child in children}
        self.restarts: dict[str, int] = dict.fromkeys(self.children, 0)
        """How often each child was started again."""
        self._watchers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Supervisor:
        """Start all children."""
        for child in self.children.values():
            child.start()
            self._watchers.append(asyncio.create_task(self._watch(child)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await asyncio.gather(*(child.stop(_STOP_GRACE_S) for child in self.children.values()))

    async def _watch(self, child: Child) -> None:
        delay_s = _RESTART_MIN_S
        while True:
            started = time.monotonic()
            returncode = await child.wait()
            if time.monotonic() - started > _HEALTHY_AFTER_S:
                delay_s = _RESTART_MIN_S
            log.warning(
                "process_ended",
                name=child.name,
                returncode=returncode,
                restart_in_s=delay_s,
                last_line=child.log_tail(1),
            )
            await asyncio.sleep(delay_s)
            delay_s = min(_RESTART_MAX_S, delay_s * 2)
            self.restarts[child.name] += 1
            child.start()
