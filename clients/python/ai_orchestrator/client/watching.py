"""Reads the stream of a task's events, over as many connections as it takes.

Source: WHATWG HTML, section 9.2 (server-sent events).
"""

from collections.abc import Iterator

import msgspec

from ai_orchestrator.client.errors import FaultError, refusal_in_stream
from ai_orchestrator.client.views import ENDED, Event, Item

_EVENT_MAX_BYTES = 16 * 1024 * 1024
_decode = msgspec.json.Decoder(Item).decode


class Watching:
    """What has been seen of a task.

    Attributes:
        sequence: of the last event: the next connection resumes after it.
        over: the task has ended; there is nothing more to come.
        idle: the last that came was a sign of life.
        heard: something came on this connection: the service is there.
    """

    def __init__(self, after: int = 0) -> None:
        self.sequence = after
        self.over = False
        self.idle = False
        self.heard = False
        self._name = b""
        self._data = b""
        self._rest = b""

    def headers(self) -> dict[str, str]:
        """Of the request of the next connection, which begins with nothing half read."""
        self._name = self._data = self._rest = b""
        return {"accept": "text/event-stream", "last-event-id": str(self.sequence)}

    def feed(self, part: bytes) -> Iterator[Item]:
        """Take bytes of a connection; the items that they complete. Known events are left out.

        Lines end with a line feed only: other characters that end lines stand in texts.

        Raises:
            OrchestratorError: the service ends the stream with a refusal, or it is not one.
        """
        self.heard = True
        *lines, self._rest = (self._rest + part).split(b"\n")
        if len(self._rest) + len(self._data) > _EVENT_MAX_BYTES:
            raise FaultError("ANSWER_INVALID", "an event of the stream is too large")
        for line in lines:
            item = self._line(line.removesuffix(b"\r"))
            if item is not None:
                yield item

    def _line(self, line: bytes) -> Item | None:
        self.idle = line.startswith(b": heartbeat") or (self.idle and not line)
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._name = value
        elif name == b"data":
            self._data += value
        elif not line and self._data:
            return self._item()
        return None

    def _item(self) -> Item | None:
        name, data = self._name, self._data
        self._name = self._data = b""
        if name == b"error":
            raise refusal_in_stream(data)
        if name not in (b"event", b"chunk", b"lagged"):
            return None  # of a newer service
        try:
            item: Item = _decode(data)
        except (ValueError, RecursionError) as error:
            raise FaultError("ANSWER_INVALID", str(error)[:300]) from None
        if not isinstance(item, Event):
            return item
        if item.sequence <= self.sequence:
            return None
        self.sequence, self.over = item.sequence, item.status in ENDED
        return item
