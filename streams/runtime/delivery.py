"""One record as the consumer delivered it, until it is acknowledged."""

from __future__ import annotations

from typing import Any, Protocol

from schemas.dead_letter import Origin
from streams.kafka.fetch.records import origin_of


class Receiver(Protocol):
    """The part of an application that a delivery needs."""

    pending: set[Delivery]
    consumer: Any
    epoch: int
    consumer_generation_id: int


class Delivery:
    """A record that this process took over and has to acknowledge.

    Acknowledge in offset order within a topic's partition, and only when everything that
    follows from the record is delivered: an acknowledgement commits all before it.
    """

    __slots__ = ("_app", "_epoch", "_generation", "_record", "_tp", "offset")

    def __init__(self, app: Receiver, tp: Any, record: Any) -> None:
        """Take a record over.

        Args:
            app: the application that the record was delivered to.
            tp: Faust's name of its topic and partition.
            record: aiokafka's ``ConsumerRecord``.
        """
        self._app = app
        self._epoch = app.epoch
        self._generation = app.consumer_generation_id
        self._tp = tp
        self._record = record
        self.offset: int = record.offset

    def __repr__(self) -> str:
        return f"<Delivery {self.topic}[{self.partition}]@{self.offset}>"

    @property
    def topic(self) -> str:
        """The topic of the record."""
        return str(self._tp.topic)

    @property
    def partition(self) -> int:
        """The partition of the record."""
        return int(self._tp.partition)

    @property
    def key(self) -> bytes | None:
        """As it is in Kafka."""
        return self._record.key  # type: ignore[no-any-return]

    @property
    def value(self) -> bytes | None:
        """As it is in Kafka."""
        return self._record.value  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """Size of the value, in bytes."""
        return len(self._record.value or b"")

    @property
    def headers(self) -> tuple[tuple[str, bytes | None], ...]:
        """Name and value, in order; names may repeat."""
        return tuple(self._record.headers or ())

    @property
    def timestamp_ms(self) -> int:
        """Unix milliseconds, UTC, as the broker keeps it."""
        return self._record.timestamp or 0

    @property
    def origin(self) -> Origin:
        """The record as a dead letter quotes it."""
        return origin_of(self._record)

    def stale(self) -> bool:
        """True once a rebalance passed: the record belongs to its next owner now.

        This holds even if the next owner is this process: a static member can get its partitions
        back in the same generation, and then reads the record again.
        """
        app = self._app
        return self._epoch != app.epoch or self._generation != app.consumer_generation_id

    def ack(self) -> None:
        """Acknowledge: we are done with the record. A stale delivery is not committed."""
        self._app.pending.discard(self)
        if not self.stale():
            self._app.consumer.done(self._tp, self.offset)

    def discard(self) -> None:
        """Let go of the record without an acknowledgement; Kafka delivers it again."""
        self._app.pending.discard(self)
