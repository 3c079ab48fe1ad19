"""Allows one process of ours at a time on a data directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.local.embedded.errors import DataDirInUseError
from orchestrator.local.embedded.settings import DATA_FOLDER
from orchestrator.private import make_private_folder


@contextmanager
def hold_data_dir(data_dir: Path) -> Iterator[None]:
    """Hold the directory while the context lasts, or until this process ends.

    The lock is the kernel's (flock on the file ``lock``, which also holds our pid for
    people), so a crash leaves nothing to clean up. It is not inherited by child processes.

    Raises:
        DataDirInUseError: another process holds it; the message names its pid.
    """
    # A folder of another name may have been there before, for something else.
    make_private_folder(data_dir, close=data_dir.name == DATA_FOLDER)
    with (data_dir / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise DataDirInUseError(
                f"{data_dir.absolute()} is in use by the process with pid {pid}: stop that"
                " one, or set another data directory (ORCH_EMBEDDED_DATA_DIR)"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
