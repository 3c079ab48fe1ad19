"""A process can say what it waits for."""

import asyncio

from streams.errors import KafkaUnavailableError
from streams.kafka.patience import Patience, waits


async def _no_time(_pause_s: float) -> None:
    await asyncio.sleep(0)


async def test_a_process_names_what_it_waits_for_and_why_until_the_wait_is_over() -> None:
    kafka, logs = Patience("brokers-of-this-test"), Patience("logs-of-this-test")
    await kafka.pause(KafkaUnavailableError("no broker answers"), until=_no_time)
    await logs.pause(KafkaUnavailableError("gone"), until=_no_time)
    # Other tests of this process may leave waits behind.
    assert (
        "brokers-of-this-test waits: KAFKA_UNAVAILABLE: no broker answers; "
        "logs-of-this-test waits: KAFKA_UNAVAILABLE: gone"
    ) in (waits() or "")

    kafka.over()
    logs.over()
    assert "of-this-test" not in (waits() or "")
