"""A small file, such as a key or a certificate, that is read again when it changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from schemas.errors import SettingsError
from streams.regular_file import read_regular_file

T = TypeVar("T")

log = structlog.get_logger()


class WatchedFile(Generic[T]):
    """The parsed contents of a file.

    :meth:`value` compares the file's identity, size and time of change with those of the last
    reading, which takes some microseconds, and parses the file again if they differ. A secret that
    Kubernetes mounts changes by a new link, which this sees too.

    A file that cannot be read or parsed later on keeps the contents that were read last, and the
    log says ``file_not_read`` once for each change. So a half-written file neither locks callers
    out nor lets others in.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], T], *, setting: str = "") -> None:
        """Read the file.

        Args:
            path: the file, or a link to it.
            parse: makes the value; it raises ``ValueError`` if the contents are wrong. The message
                is logged, so it must not quote them.
            setting: the variable that names the file, for errors; the configuration file may.

        Raises:
            SettingsError: the file cannot be read or parsed; the message names it.
        """
        self.path = path
        self._parse = parse
        named = f"{setting}: " if setting else ""
        try:
            self._seen = self._stamp()
            self._value = self._read()
        except OSError as error:
            raise SettingsError(f"{named}{path}: {error.strerror}") from error
        except ValueError as error:
            raise SettingsError(f"{named}{path}: {error}") from error

    def value(self) -> T:
        """The contents as they are now; the last good ones if the file is gone or wrong."""
        try:
            stamp = self._stamp()
        except OSError:
            stamp = None
        if stamp != self._seen:
            self._seen = stamp
            self._read_again()
        return self._value

    def _read_again(self) -> None:
        try:
            self._value = self._read()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            log.error("file_not_read", path=str(self.path), reason=reason)
        else:
            log.info("file_read_again", path=str(self.path))

    def _read(self) -> T:
        return self._parse(read_regular_file(self.path))

    def _stamp(self) -> tuple[int, ...] | None:
        found = self.path.stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def secret_line(contents: bytes) -> str:
    """A secret that is alone in its file; a line break at its end does not belong to it.

    Raises:
        ValueError: the file is empty, or holds more than one line or what is not text.
    """
    try:
        text = contents.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("not text in UTF-8") from None
    if not text:
        raise ValueError("the file is empty")
    if not text.isprintable():
        raise ValueError("more than one line, or a character that cannot be printed")
    return text
