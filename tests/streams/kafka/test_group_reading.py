"""What a stranger or a member that is gone wrote beside an offset is not what a group says, and a
missing partition keeps no question waiting."""

import asyncio
import time
import uuid

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from streams.kafka.admin import Admin
from streams.kafka.group_note import written_note
from streams.kafka.group_reading import group_readings
from streams.settings import KafkaSettings
from tests.streams.building import a_topic

HOSTILE = "\x1b[2J<script>\u202e" + "x" * 4_000


async def test_only_a_current_note_of_a_member_is_shown(kafka_bootstrap: str) -> None:
    kafka, group = KafkaSettings(bootstrap=kafka_bootstrap), f"g-{uuid.uuid4()}"
    name = f"t-{uuid.uuid4()}"
    async with Admin(kafka) as admin:
        await admin.apply([a_topic(name, 2)])
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka_bootstrap, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    notes = []
    try:
        first, second = TopicPartition(name, 0), TopicPartition(name, 1)
        consumer.assign([first, second])
        old, current = (written_note("paused", time.time() - age_s) for age_s in (3_600, 0))
        for other in ("", old, current):
            await consumer.commit(
                {first: OffsetAndMetadata(0, HOSTILE), second: OffsetAndMetadata(0, other)}
            )
            places = {group: [(name, 0), (name, 1)]}
            found = await group_readings(kafka, places, client_id="test")
            notes.append(found[group].note)
    finally:
        await consumer.stop()

    assert notes == ["", "", "paused"]


async def test_a_partition_that_does_not_exist_has_no_records_and_is_not_waited_for(
    kafka_bootstrap: str,
) -> None:
    kafka, name = KafkaSettings(bootstrap=kafka_bootstrap), f"t-{uuid.uuid4()}"
    async with Admin(kafka) as admin:
        await admin.apply([a_topic(name)])
    places = {"there": [(name, 0), (name, 7)], "gone": [(f"no-{name}", 0)]}
    async with asyncio.timeout(kafka.request_timeout_s / 2):
        found = await group_readings(kafka, places, client_id="test")

    assert {group: reading.missing for group, reading in found.items()} == {
        "there": False,
        "gone": True,
    }
