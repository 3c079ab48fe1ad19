"""Decodes a stream of server-sent events, bounded. Pure.

Source: the section "Server-sent events" of the HTML standard; only ``data`` matters here.
"""

from __future__ import annotations


class StreamTooLargeError(Exception):
    """A line, an event or the whole stream is larger than allowed."""


class EventDecoder:
    """The events of one answer.

    Args:
        event_max_bytes: of one line, and of the data of one event.
        max_bytes: of the whole stream.
    """

    def __init__(self, *, event_max_bytes: int, max_bytes: int) -> None:
        self._event_max_bytes = event_max_bytes
        self._max_bytes = max_bytes
        self._size = 0
        self._rest = b""
        self._data: list[bytes] = []
        self._data_size = 0

    def feed(self, part: bytes) -> list[bytes]:
        """Take bytes; return the data of the events that they complete.

        Raises:
            StreamTooLargeError: see that class; the stream is over.
        """
        self._size += len(part)
        lines = (self._rest + part).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = lines.pop()
        longest = max(len(self._rest), *map(len, lines)) if lines else len(self._rest)
        if self._size > self._max_bytes or longest > self._event_max_bytes:
            raise StreamTooLargeError
        found = []
        for line in lines:
            if line:
                self._take(line)
            elif self._data:
                found.append(b"\n".join(self._data))
                self._data, self._data_size = [], 0
        return found

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._data_size += len(value) + 1
            if self._data_size > self._event_max_bytes:
                raise StreamTooLargeError
