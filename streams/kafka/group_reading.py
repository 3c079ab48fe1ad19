"""What a consumer group does with one partition: who reads, how much waits, what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.kafka.admin import Admin
from streams.kafka.log_reader import LogReader
from streams.kafka.positions import Place
from streams.settings import KafkaSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReading:
    """A group, and what it has to read of some partitions."""

    members: int
    unread: int
    """Offsets that it has not committed."""
    note: str
    """What a member wrote beside one of its offsets; empty: nothing."""


async def group_readings(
    kafka: KafkaSettings, groups: Mapping[str, Sequence[Place]], *, client_id: str
) -> dict[str, GroupReading]:
    """Ask about groups, each with the partitions that matter.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    async with (
        Admin(kafka) as admin,
        LogReader(kafka, client_id=client_id, committed=False) as reader,
    ):
        members = await admin.members(list(groups))
        found = {}
        for group, places in groups.items():
            # The positions first: an end that is read later is not before them.
            committed = await admin.committed(group, places)
            notes, bounds = await asyncio.gather(
                admin.notes(group, places), reader.all_bounds(places)
            )
            unread = sum(
                max(0, end - max(first, committed.get(place, first)))
                for place, (first, end) in bounds.items()
            )
            note = next(iter(notes.values()), "")
            found[group] = GroupReading(members=members[group], unread=unread, note=note)
        return found
