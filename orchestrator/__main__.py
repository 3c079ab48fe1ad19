"""The program: ``orchestrator COMMAND``, or ``python -m orchestrator COMMAND``."""

import os
import signal

from orchestrator.guard import check_packages


def main() -> None:
    """Check that our packages are not shadowed, then run the command line."""
    # The system would end a process that gets it while it starts, or a command that has no level.
    # A handler instead of SIG_IGN: programs that this process starts have their own way with it.
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, lambda *_: None)
    if os.getpid() == 1:
        # The first process of a container gets only the signals that it handles. Until a role or
        # the service has a handler of its own, the signal ends it as anywhere else.
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    check_packages()
    # Otherwise gRPC's C core writes its own lines to standard error, past our logs.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # Only now: before the check, an import could already fail in a foreign package.
    from orchestrator.cli.app import run

    run()


if __name__ == "__main__":
    main()
