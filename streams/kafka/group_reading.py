"""What consumer groups do with some partitions: who reads, how much waits, what members note."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.kafka.admin import Admin
from streams.kafka.group_note import read_note
from streams.kafka.log_reader import LogReader
from streams.kafka.positions import Place, lag_by_place
from streams.settings import KafkaSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReading:
    """A group, and what it has to read of some partitions."""

    members: int
    unread: int
    """Offsets that it has not committed."""
    note: str
    """What a member says beside one of its offsets (:mod:`streams.kafka.group_note`)."""


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
        now_s, found = time.time(), {}
        for group, places in groups.items():
            # The positions first: an end that is read later is not before them.
            commits = await admin.commits(group, places)
            committed = {place: commit.offset for place, commit in commits.items()}
            unread = lag_by_place(committed, await reader.all_bounds(places))
            notes = (read_note(commit.metadata, now_s) for commit in commits.values())
            found[group] = GroupReading(
                members=members[group],
                unread=sum(unread.values()),
                note=next(filter(None, notes), ""),
            )
        return found
