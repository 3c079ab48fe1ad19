"""A reader of logs opens and closes cleanly, whatever is read in between."""

import asyncio

from streams.kafka.log_reader import LogReader
from streams.settings import KafkaSettings


async def test_a_reader_that_is_closed_as_soon_as_it_is_open_leaves_nothing_behind(
    kafka: KafkaSettings,
) -> None:
    before = asyncio.all_tasks()

    async with LogReader(kafka, client_id="test"):
        pass

    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
