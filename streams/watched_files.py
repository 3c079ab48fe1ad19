"""Files that belong together, such as a certificate and its key, read again when one changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from schemas.errors import SettingsError
from streams.watched_file import WatchedFile

T = TypeVar("T")

log = structlog.get_logger()


class WatchedFiles(Generic[T]):
    """A value that is made from several files.

    While the files do not fit together, as between the replacements of two of them, the last good
    value stays, and the log says ``files_not_used`` once for each change.
    """

    def __init__(self, paths: Sequence[Path], make: Callable[[], T]) -> None:
        """Make the value.

        Args:
            paths: the files; those are compared.
            make: reads the files, and returns a new value each time.

        Raises:
            SettingsError: a file is missing or wrong, or they do not fit together.
        """
        make()  # its errors say more about a wrong file than that it cannot be read
        self._watched = [WatchedFile(path, bytes) for path in paths]
        self._make = make
        self._of = self._contents()
        self._refused: tuple[bytes, ...] | None = None
        self._value = make()

    def value(self) -> T:
        """The value of the files as they are now; the last good one while they are wrong."""
        contents = self._contents()
        if contents not in (self._of, self._refused):
            self._make_again(contents)
        return self._value

    def _make_again(self, contents: tuple[bytes, ...]) -> None:
        try:
            value = self._make()
        except SettingsError as error:
            self._refused = contents
            log.error("files_not_used", code=error.code, reason=str(error))
            return
        if self._contents() == contents:
            self._value, self._of, self._refused = value, contents, None
            log.info("files_used_again", paths=[str(file.path) for file in self._watched])
        # Otherwise a file changed meanwhile: the next call looks again.

    def _contents(self) -> tuple[bytes, ...]:
        return tuple(file.value() for file in self._watched)
