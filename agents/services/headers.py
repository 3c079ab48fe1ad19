"""The headers of an installation's own that each call of a service carries."""

from collections.abc import Sequence

from agents.services.access import HeaderSource
from agents.services.sending import is_sendable
from schemas.errors import SettingsError
from streams.watched_file import WatchedFile, secret_line

VARIABLE = "ORCH_SERVICES_HEADERS"


class ServiceHeaders:
    """The headers of one service. A file is read again when it changes.

    Raises:
        SettingsError: a file is missing or does not hold one line that a header can hold; the
            message names the variable and the file.
    """

    def __init__(self, sources: Sequence[HeaderSource] = ()) -> None:
        self._fixed = [(source.name, source.value) for source in sources if source.file is None]
        try:
            self._watched = [
                (source, WatchedFile(source.file, _value))
                for source in sources
                if source.file is not None
            ]
        except SettingsError as error:
            raise SettingsError(f"{VARIABLE}: {error}") from error

    def current(self) -> list[tuple[str, str]]:
        """Names in lower case and values, as the files are now. Secrets: never log them."""
        read = [(source.name, source.value + file.value()) for source, file in self._watched]
        return self._fixed + read


def _value(contents: bytes) -> str:
    line = secret_line(contents)
    if not is_sendable(line) or line != line.strip():
        raise ValueError("not printable ASCII, too long, or with a space at an end")
    return line
