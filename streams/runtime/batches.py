"""How all agents read: the records of one poll, as one batch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from streams.runtime.delivery import Delivery

if TYPE_CHECKING:
    from faust.types import StreamT


async def batches(stream: StreamT) -> AsyncIterator[list[Delivery]]:
    """Yield the records of a poll without waiting for more: at low load, one record at once.

    The reader must acknowledge every delivery in offset order
    (:meth:`~streams.runtime.delivery.Delivery.ack`); Faust itself acknowledges nothing here.

    Args:
        stream: an agent's stream. Our consumer puts lists of deliveries into it
            (:class:`~streams.runtime.consumer.Consumer`), which Faust passes on as they are.
    """
    app = stream.app
    async for polled in stream:
        # The next owner reads again what was read before a rebalance.
        batch = [delivery for delivery in polled if not delivery.stale()]
        if batch and app.flow_control.is_active():
            app.pending.update(batch)
            yield batch
