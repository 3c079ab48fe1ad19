"""One record as Faust delivered it, until it is acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from schemas.dead_letter import Origin

if TYPE_CHECKING:
    from faust.types import EventT


class Receiver(Protocol):
    """The application that a record was delivered to, as far as a delivery knows it."""

    pending: set[Delivery]
    consumer: Any
    consumer_generation_id: int


class Delivery:
    """A record that this process took over and has to acknowledge.

    Acknowledge in offset order within a topic's partition, and only when everything that
    follows from the record is delivered: Faust commits up to what is acknowledged.
    """

    __slots__ = ("_app", "_event", "key", "offset", "partition", "topic", "value")

    def __init__(self, app: Receiver, event: EventT) -> None:
        message = event.message
        self._app = app
        self._event = event
        self.topic: str = message.topic
        self.partition: int = message.partition
        self.offset: int = message.offset
        self.key: bytes | None = message.key
        self.value: bytes | None = message.value

    def __repr__(self) -> str:
        return f"<Delivery {self.topic}[{self.partition}]@{self.offset}>"

    @property
    def headers(self) -> tuple[tuple[str, bytes | None], ...]:
        """Name and value, in order; names may repeat."""
        return tuple(self._event.message.headers or ())

    @property
    def timestamp_ms(self) -> int:
        """Unix milliseconds, UTC, as the broker keeps it (Faust holds it in seconds)."""
        return round((self._event.message.timestamp or 0) * 1000)

    @property
    def origin(self) -> Origin:
        """The record as a dead letter quotes it."""
        return Origin(
            topic=self.topic,
            partition=self.partition,
            offset=self.offset,
            timestamp_ms=self.timestamp_ms,
            key=self.key,
            value=self.value,
            headers=self.headers,
        )

    def stale(self) -> bool:
        """True once a rebalance passed: the record belongs to its next owner now."""
        return bool(self._event.message.generation_id != self._app.consumer_generation_id)

    def ack(self) -> None:
        """We are done with the record. Of a stale one nothing is committed."""
        self._app.pending.discard(self)
        self._event.ack()

    def discard(self) -> None:
        """Let go of the record without an acknowledgement; Kafka delivers it again."""
        self._app.pending.discard(self)
        self._app.consumer.unacked.discard(self._event.message)
