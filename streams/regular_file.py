"""Reads a file that somebody else writes: a regular one, of a bounded size, without waiting.

Opening a named pipe waits until somebody writes it, and no signal ends this wait in an event
loop; a device may have no end.
"""

import os
import stat
from pathlib import Path

from schemas.errors import SettingsError

MAX_BYTES = 1024 * 1024


def read_regular_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The contents of a file.

    Raises:
        OSError: it cannot be opened or read.
        ValueError: it is not a regular file, or has more than ``max_bytes``.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        contents = file.read(max_bytes + 1)
    if len(contents) > max_bytes:
        raise ValueError(f"more than {max_bytes} bytes")
    return contents


def read_settings_file(path: Path) -> bytes:
    """The contents of a file that a setting names.

    Raises:
        SettingsError: as :func:`read_regular_file`; the message names the file.
    """
    try:
        return read_regular_file(path)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from error
