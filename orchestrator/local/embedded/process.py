"""A child process that does not outlive us: the two servers, and the roles of ``dev``."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

_LAUNCH = Path(__file__).with_name("launch.py")
_POLL_MIN_S = 0.02
_POLL_MAX_S = 0.2
_POLL_GROWTH = 1.1
"""A requested end is noticed at once; an end after minutes, a tenth of a second later."""
_TAIL_BYTES = 64 * 1024
_LOG_MAX_BYTES = 16 * 1024 * 1024
_KILL_TIMEOUT_S = 10.0
"""From SIGKILL to the end: only a process that is stuck in the kernel takes longer."""


class Process(ABC):
    """A process of ours in its own session and process group, with a log file.

    Standard output and standard error are appended to ``log_path``. A start that finds more
    than 16 MiB there moves them to ``<log_path>.1``. It may be started again after it ended.
    Nothing here is bound to an event loop: it may be started in one and stopped in another.
    """

    def __init__(self, name: str, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._log_start = 0

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The process id, also after the end; None before the first start."""

    @property
    @abstractmethod
    def returncode(self) -> int | None:
        """The exit status, or minus the signal; None while it runs and before it starts."""

    @abstractmethod
    def _run(self, log: BinaryIO) -> None:
        """Make the process; its output goes to ``log``."""

    def start(self) -> None:
        """Run it. Returns at once; errors inside of the process appear in its log.

        Must be called in the main thread: the kernel ends a bound child together with the
        *thread* that made it.

        Raises:
            RuntimeError: it runs already, or this is not the main thread.
            OSError: the log cannot be opened, or no process can be made.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"{self.name}: a child must be started in the main thread")
        if self._runs():
            raise RuntimeError(f"{self.name}: already running as pid {self.pid}")
        self._make_room_for_log()
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._run(log)

    async def stop(self, grace_s: float, signal_number: int = signal.SIGTERM) -> int | None:
        """Ask it to end, and kill it if it has not ended after ``grace_s`` seconds.

        If this call is cancelled, it kills at once. In every case the process has ended afterwards.

        Returns:
            As :attr:`returncode`; None if it was never started.
        """
        if self.pid is None:
            return None
        try:
            if self.returncode is None:
                os.kill(self.pid, signal_number)
            return await self.wait(grace_s)
        except TimeoutError:
            self.kill()
            return await self.wait(_KILL_TIMEOUT_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL to it and its children; :meth:`wait` then returns within moments.

        Does nothing if it has ended or was never started.
        """
        self.signal(signal.SIGKILL)

    async def wait(self, timeout_s: float | None = None) -> int:
        """Wait until it ends.

        Raises:
            TimeoutError: it still runs after ``timeout_s`` seconds; it was left alone.
            RuntimeError: it was never started.
        """
        if self.pid is None:
            raise RuntimeError(f"{self.name}: was never started")
        async with asyncio.timeout(timeout_s):
            # Polling, because an asyncio waiter would belong to one event loop.
            poll_s = _POLL_MIN_S
            while (returncode := self.returncode) is None:
                await asyncio.sleep(poll_s)
                poll_s = min(_POLL_MAX_S, poll_s * _POLL_GROWTH)
        return returncode

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its output since its last start; empty without output."""
        try:
            with self.log_path.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, end - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _runs(self) -> bool:
        return self.pid is not None and self.returncode is None

    def signal(self, number: int) -> None:
        """Send a signal to it and its children; does nothing if it does not run."""
        if self._runs():
            self._signal(number)

    def _signal(self, number: int) -> None:
        assert self.pid is not None
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # A child makes its group before anything else: without a group no process is left.
            return
        except PermissionError:
            # macOS raises this for a group in which only the unreaped leader is left.
            return

    def _make_room_for_log(self) -> None:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_MAX_BYTES:
            self.log_path.replace(self.log_path.with_name(f"{self.log_path.name}.1"))


class Child(Process):
    """One program.

    The kernel kills it (SIGKILL) when this process ends for whatever reason; on systems other
    than Linux only :meth:`stop` and :meth:`kill` end it. When the program itself ends, the rest
    of its process group is killed.
    Its standard input is empty.
    """

    def __init__(
        self,
        name: str,
        args: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        log_path: Path,
        cwd: Path | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        """Describe a child; nothing runs yet.

        Args:
            name: for errors and logs.
            args: the program, as an absolute path, and its arguments.
            env: its whole environment.
            log_path: created if missing, with its directories.
            cwd: its working directory; ours by default.
            uid: the user to run it as; only root may name another user.
            gid: its group; required with ``uid``. It has no further groups.
        """
        if (uid is None) != (gid is None):
            raise ValueError("uid and gid are given together or not at all")
        super().__init__(name, log_path)
        self._args = [str(arg) for arg in args]
        self._env = dict(env)
        self._cwd = cwd
        self._uid = -1 if uid is None else uid
        self._gid = -1 if gid is None else gid
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """As for every process."""
        return None if self._process is None else self._process.pid

    @property
    def returncode(self) -> int | None:
        """As for every process."""
        if self._process is None:
            return None
        if self._process.returncode is None and self._has_ended():
            # Not reaped yet, so its id, which is the group's, is not used again yet.
            self._signal(signal.SIGKILL)
            self._process.wait()
        return self._process.returncode

    def _run(self, log: BinaryIO) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", str(_LAUNCH)),
                *(str(os.getpid()), str(self._uid), str(self._gid)),
                *self._args,
            ],
            env=self._env,
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _has_ended(self) -> bool:
        assert self._process is not None
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self._process.pid, flags) is not None
        except ChildProcessError:
            # Other code reaped it (in a program that ignores SIGCHLD): it has ended.
            return True
