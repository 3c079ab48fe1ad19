"""The common part of both embedded servers: a process, a port that stays, a log."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestrator.local.embedded.process import Child
from schemas.errors import OrchestratorError

_ATTEMPT_INTERVAL_S = 0.1
_KILL_WAIT_S = 10.0


class EmbeddedServer(ABC):
    """A server on 127.0.0.1 whose data, port and log are in one directory.

    Not bound to an event loop: each method may be called in another one.
    """

    name: str
    """The name in messages."""

    def __init__(self, data_dir: Path, *, port: int, start_timeout_s: float) -> None:
        self.data_dir = data_dir.absolute()
        self._port = port
        self._start_timeout_s = start_timeout_s
        self._child: Child | None = None

    @abstractmethod
    async def start(self) -> str:
        """Start the server and wait until it answers; return its address."""

    @abstractmethod
    async def stop(self) -> None:
        """End the server cleanly. Does nothing if the server does not run."""

    @abstractmethod
    def _last_port(self) -> int:
        """The port of the last start."""

    @abstractmethod
    def _not_started(self, child: Child, reason: str) -> OrchestratorError:
        """The error for a server that does not run."""

    @property
    def log_path(self) -> Path:
        """Its log file."""
        return self.data_dir / f"{self.name.lower()}.log"

    @property
    def pid(self) -> int | None:
        """The server's process id; None if it does not run."""
        if self._child is None or self._child.returncode is not None:
            return None
        return self._child.pid

    async def start_again(self) -> str:
        """Start it with its data on the port of the last start, after it ended.

        Raises:
            PortTakenError: another process took the port meanwhile; try again.
            OrchestratorError: as :meth:`start`.
            RuntimeError: it was never started, or runs.
        """
        asked, self._port = self._port, self._last_port()
        try:
            return await self.start()
        finally:
            self._port = asked

    async def kill(self) -> None:
        """End the server as a crash does.

        Acknowledged data is still there afterwards: the operating system keeps what was
        written.
        """
        if self._child is not None:
            self._child.kill()
            await self._child.wait(_KILL_WAIT_S)

    async def wait(self) -> int:
        """Wait, without a limit, until the started server ends; return its exit status.

        Raises:
            RuntimeError: it was never started.
        """
        if self._child is None:
            raise RuntimeError(f"this {self.name} was never started")
        return await self._child.wait()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log since the last start."""
        return "" if self._child is None else self._child.log_tail(lines)

    def _check_stopped(self) -> None:
        if self.pid is not None:
            raise RuntimeError(f"this {self.name} runs already as pid {self.pid}")

    async def _run_child(self, child: Child, answers: Callable[[], Awaitable[bool]]) -> None:
        """Start the server's process and wait until it answers.

        After a failure or a cancellation nothing is left running when this returns.
        """
        self._child = child
        child.start()
        try:
            await self._until_ready(child, answers)
        except BaseException:
            await child.stop(0.0)
            raise

    async def _until_ready(self, child: Child, answers: Callable[[], Awaitable[bool]]) -> None:
        try:
            async with asyncio.timeout(self._start_timeout_s):
                while not await answers():
                    if child.returncode is not None and not self._may_start_again(child):
                        raise self._not_started(child, f"ended with status {child.returncode}")
                    if child.returncode is not None:
                        child.start()
                    await asyncio.sleep(_ATTEMPT_INTERVAL_S)
        except TimeoutError:
            reason = f"no answer within {self._start_timeout_s:g} s"
            raise self._not_started(child, reason) from None

    def _may_start_again(self, child: Child) -> bool:
        """Whether a server that ended at its start should be started again."""
        return False
