"""Replaces itself by another program that ends with its parent.

Run as a script by :mod:`orchestrator.local.embedded.process`; never imported::

    python -I -S launch.py PARENT_PID UID GID PROGRAM [ARGUMENT ...]

UID and GID of -1 change nothing. A small program instead of ``preexec_fn``: code that runs
between fork and exec can deadlock in a parent with threads (gRPC, aiokafka's and asyncio's
executors have some). Standard library only, because the program that it becomes may run as
a user who cannot read our packages. Exits 127 when PROGRAM cannot be run.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Drop privileges, bind to the parent, exec."""
    parent_pid, uid, gid = (int(value) for value in sys.argv[1:4])
    program = sys.argv[4:]
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if libc is not None:
        # After setuid: the kernel drops the signal when the credentials change (prctl(2)).
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit("launch: the parent ended before its child could be bound to it")
    # Python ignores these two signals, and ignored signals stay ignored across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execv(program[0], program)
    except OSError as error:
        print(f"launch: cannot run {program[0]}: {error}", file=sys.stderr, flush=True)
        os._exit(127)


if __name__ == "__main__":
    main()
