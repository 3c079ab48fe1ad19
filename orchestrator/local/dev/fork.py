"""Processes that run a command without importing it: they are forked from a server that did.

Importing the modules of a role takes more than a second of CPU, and ``dev`` and the tests start
roles by the dozen. The standard library's fork server imports it once and starts no thread,
so that nothing is lost in a fork.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import BinaryIO

from orchestrator.local.embedded.process import Process

_IMPORTED = [
    "orchestrator.cli.serve",
    "orchestrator.cli.worker",
    "orchestrator.local.demo.server",
]


class Fork(Process):
    """``orchestrator COMMAND``, forked.

    It kills itself when this process ends for any reason. Not for commands that start
    processes of their own.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], *, env: Mapping[str, str], log_path: Path
    ) -> None:
        """Describe a process; nothing runs yet.

        Args:
            name: for errors and logs.
            arguments: the arguments of the command line.
            env: its whole environment. What Python itself reads at its start is the fork
                server's, so this process's.
            log_path: made when missing, with its directories.
        """
        super().__init__(name, log_path)
        self._arguments = list(arguments)
        self._env = dict(env)
        self._process: ForkServerProcess | None = None

    @property
    def pid(self) -> int | None:
        """As of every process."""
        return None if self._process is None else self._process.pid

    @property
    def returncode(self) -> int | None:
        """As of every process."""
        return None if self._process is None else self._process.exitcode

    def _run(self, log: BinaryIO) -> None:
        self._process = _context().Process(
            target=_become, args=(self._arguments, self._env, log.name), daemon=True
        )
        self._process.start()

    def _signal(self, number: int) -> None:
        # Not its group: it makes one only moments after its start.
        assert self._process is not None
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return context


def _become(arguments: list[str], env: dict[str, str], log: str) -> None:
    os.setsid()
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    with Path(log).open("ab") as opened:
        os.dup2(opened.fileno(), 1)
        os.dup2(opened.fileno(), 2)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["orchestrator", *arguments]
    from orchestrator.__main__ import main

    main()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
