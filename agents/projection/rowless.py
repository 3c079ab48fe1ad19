"""Finds tasks without a row, because the log lost the events that their rows are made of."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.records import Millis, TaskId
from streams.kafka.log_reader import LogReader
from streams.ownership.ports import Snapshot
from streams.ownership.state_record import read_state


async def remembered_tasks(
    reader: LogReader, topic: str, bounds: Mapping[int, int]
) -> dict[TaskId, Millis]:
    """The tasks of ``task-state`` whose rows must exist, with the times of their creation.

    Args:
        reader: open.
        topic: ``task-state``.
        bounds: for each partition, the offset of ``task-events`` up to which all rows are made.
            Later snapshots are ignored.

    Raises:
        KafkaUnavailableError: begin again.
    """
    found: dict[TaskId, Millis] = {}
    places = await reader.all_partitions([topic])
    async for records in reader.read_all(await reader.all_bounds(places)):
        for record in records:
            content = read_state(record).content
            if not isinstance(content, Snapshot):
                continue
            found.pop(content.task_id, None)
            if content.task is not None and content.as_of <= bounds.get(record.partition, 0):
                found[content.task_id] = content.task.created_at
    return found
