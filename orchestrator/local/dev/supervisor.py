"""Keeps processes running: restarts a process that ends, with a growing delay."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence

import structlog

from orchestrator.local.dev.log_excerpt import why_ended
from orchestrator.local.embedded.process import Process

log = structlog.get_logger()

_RESTART_MIN_S = 0.2
_RESTART_MAX_S = 5.0
# A process that lived for this time has not failed at its start: the next restart is quick.
_HEALTHY_AFTER_S = 30.0
# Longer than a worker gives the calls in flight (ORCH_WORKER_DRAIN_S), and its own end.
_STOP_GRACE_S = 30.0
_START_S = 10.0
_POLL_S = 0.02
_TAIL_LINES = 200
"""Lines of a log since the last start: enough for a traceback and the lines after it."""


class Supervisor:
    """Starts children and restarts them until it is closed.

    An async context manager: leaving it stops all children, with SIGTERM first. A child that
    was stopped or held by name stays down until :meth:`start`.
    """

    def __init__(self, children: Sequence[Process]) -> None:
        self.children = {child.name: child for child in children}
        self.restarts: dict[str, int] = dict.fromkeys(self.children, 0)
        """How often each child was started again."""
        self._wanted = {name: _set_event() for name in self.children}
        self._expected: set[str] = set()
        """Children whose next end was requested."""
        self._watchers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Supervisor:
        """Start all children."""
        for child in self.children.values():
            self._begin(child)
        return self

    async def __aexit__(self, *_: object) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for name in self.children:
            # A paused process would not see the SIGTERM.
            self.resume(name)
        await asyncio.gather(*(child.stop(_STOP_GRACE_S) for child in self.children.values()))

    def add(self, child: Process) -> None:
        """Start a further child, and keep it running.

        Raises:
            ValueError: a child has this name already.
        """
        if child.name in self.children:
            raise ValueError(f"there is a child {child.name} already")
        self.children[child.name] = child
        self.restarts[child.name] = 0
        self._wanted[child.name] = _set_event()
        self._begin(child)

    async def stop(self, name: str) -> None:
        """End a child with SIGTERM (SIGKILL after 10 s), and keep it down."""
        self.hold(name)
        self.resume(name)
        await self.children[name].stop(_STOP_GRACE_S)

    def hold(self, name: str) -> None:
        """Do not start a child again when it ends. It goes on running until then."""
        self._wanted[name].clear()
        self._expected.add(name)

    async def start(self, name: str) -> None:
        """Start a child that was stopped or held; return when its process exists.

        Raises:
            TimeoutError: it could not be started.
        """
        self._wanted[name].set()
        if self.children[name].returncode is None:
            self._expected.discard(name)
        async with asyncio.timeout(_START_S):
            while self.children[name].returncode is not None:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)

    async def restart(self, name: str) -> None:
        """A clean restart: SIGTERM, wait for its end, start."""
        await self.stop(name)
        await self.start(name)

    def pause(self, name: str) -> None:
        """SIGSTOP: the process and its children stand still, their connections stay open."""
        self.children[name].signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT; harmless for a process that runs."""
        self.children[name].signal(signal.SIGCONT)

    def _begin(self, child: Process) -> None:
        child.start()
        self._watchers.append(asyncio.create_task(self._watch(child)))

    async def _watch(self, child: Process) -> None:
        wanted, delay_s = self._wanted[child.name], _RESTART_MIN_S
        while True:
            started = time.monotonic()
            returncode = await child.wait()
            if child.name in self._expected:
                self._expected.discard(child.name)
            else:
                if time.monotonic() - started > _HEALTHY_AFTER_S:
                    delay_s = _RESTART_MIN_S
                log.warning(
                    "process_ended",
                    name=child.name,
                    returncode=returncode,
                    restart_in_s=delay_s,
                    last_error=why_ended(returncode, child.log_tail(_TAIL_LINES)),
                    log=str(child.log_path),
                )
                await asyncio.sleep(delay_s)
                delay_s = min(_RESTART_MAX_S, delay_s * 2)
            await wanted.wait()
            self.restarts[child.name] += 1
            child.start()


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event
