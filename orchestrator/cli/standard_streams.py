"""Makes the standard streams usable: closed ones, and encodings that cannot hold every text."""

import io
import os
import sys

_MODES = {0: ("stdin", "r"), 1: ("stdout", "w"), 2: ("stderr", "w")}


def prepare_streams() -> None:
    """Open closed standard streams on the null device, and escape what stdout cannot encode.

    The command does its work all the same; what it prints to a closed stream is discarded.
    The descriptor is taken, too, so that no file or connection of ours becomes standard output.
    """
    for number, (name, mode) in _MODES.items():
        try:
            os.fstat(number)
        except OSError:
            # The lowest free descriptor: all below are open by now.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Send what is still to be written nowhere, so that the exit does not fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def takes_all_text() -> bool:
    """True if standard output can encode every character."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").startswith("utf")
