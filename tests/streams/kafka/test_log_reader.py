"""A reader of logs opens and closes cleanly, whatever is read in between."""

import asyncio
import uuid
from typing import Any

import pytest

from streams.kafka.admin import Admin
from streams.kafka.log_reader import LogReader
from streams.settings import KafkaSettings
from tests.streams.building import a_topic


async def test_a_reader_that_is_closed_as_soon_as_it_is_open_leaves_nothing_behind(
    kafka: KafkaSettings,
) -> None:
    before = asyncio.all_tasks()

    async with LogReader(kafka, client_id="test"):
        pass

    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_the_bounds_of_many_topics_cost_no_request_for_each(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"test-{uuid.uuid4()}" for _ in range(12)]
    async with Admin(kafka) as admin:
        await admin.apply([a_topic(name) for name in names])
    places = [(name, partition) for name in names for partition in (0, 1)]
    asked = 0
    for ends_only in (False, True):
        async with LogReader(kafka, client_id="test") as reader:
            client = reader._consumer._client
            update = client._metadata_update

            async def counted(*args: Any, update: Any = update) -> Any:
                nonlocal asked
                asked += 1
                return await update(*args)

            monkeypatch.setattr(client, "_metadata_update", counted)
            found = await (reader.ends if ends_only else reader.all_bounds)(places)

        assert found.keys() == set(places)
    # A second one for each reader if its first was on its way already.
    assert asked <= 4
