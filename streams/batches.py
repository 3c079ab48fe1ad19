"""The one way in which agents read: whatever is there now, as one batch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from streams.delivery import Delivery

if TYPE_CHECKING:
    from faust.types import EventT, StreamT

BATCH_MAX = 500
"""Records in one batch. Bounds how long one batch keeps the event loop to itself."""


async def batches(
    stream: StreamT, *, max_records: int = BATCH_MAX
) -> AsyncIterator[list[Delivery]]:
    """Yield what has arrived, without waiting for more: at low load, one record at once.

    Every delivery must be acknowledged by whoever takes it, in offset order
    (:meth:`~streams.delivery.Delivery.ack`); Faust itself acknowledges nothing here.

    Args:
        stream: an agent's stream of topics with raw keys and values.
        max_records: the most that one batch holds.
    """
    source = stream.noack()
    app = source.app
    async for event in source.events():
        batch = [Delivery(app, event)]
        queue = source.channel.queue
        while len(batch) < max_records and not queue.empty():
            waiting = queue.get_nowait()
            queue.maybe_endorse_pressure_drop()
            delivery = _track(app, waiting)
            if delivery is not None:
                batch.append(delivery)
        app.pending.update(batch)
        yield batch


def _track(app: Any, event: EventT) -> Delivery | None:
    """What Faust's stream does with an event that it takes off its queue.

    Records of an earlier generation are left out: they are delivered again. The others count
    as unacknowledged, so that a rebalance waits for them.
    """
    message = event.message
    if message.generation_id != app.consumer_generation_id or not app.flow_control.is_active():
        return None
    if not message.tracked:
        message.tracked = True
        app.consumer.unacked.add(message)
    return Delivery(app, event)
