"""What consumer groups do with some partitions: who reads, how much waits, what members note."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
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
    has_read: bool = False
    """It has committed offsets: members were in it, and may have gone."""
    missing: bool = False
    """None of the partitions exists."""


async def group_positions(
    reader: LogReader, admin: Admin, groups: Mapping[str, Sequence[str]]
) -> AsyncIterator[tuple[str, dict[Place, int], dict[Place, tuple[int, int]]]]:
    """Each group with its positions in its topics, and the bounds of all their partitions.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    for group, topics in groups.items():
        places = await reader.all_partitions(topics)
        # The positions first: a bound that is read later is not before them.
        committed = await admin.committed(group, places)
        yield group, committed, await reader.all_bounds(places)


async def group_readings(
    kafka: KafkaSettings, groups: Mapping[str, Sequence[Place]], *, client_id: str
) -> dict[str, GroupReading]:
    """Ask about groups, each with the partitions that matter; one that is missing has no records.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    async with (
        Admin(kafka) as admin,
        LogReader(kafka, client_id=client_id, committed=False) as reader,
    ):
        members = await admin.members(list(groups))
        now_s, found = time.time(), {}
        topics = sorted({topic for places in groups.values() for topic, _ in places})
        # The bounds of a partition that does not exist are waited for in vain.
        there = set(await reader.all_partitions(topics))
        for group, wanted in groups.items():
            places = [place for place in wanted if place in there]
            if not places:
                found[group] = GroupReading(
                    members=members[group], unread=0, note="", missing=bool(wanted)
                )
                continue
            # The positions first: an end that is read later is not before them.
            commits = await admin.commits(group, places)
            committed = {place: commit.offset for place, commit in commits.items()}
            unread = lag_by_place(committed, await reader.all_bounds(places))
            notes = (read_note(commit.metadata, now_s) for commit in commits.values())
            found[group] = GroupReading(
                members=members[group],
                unread=sum(unread.values()),
                note=next(filter(None, notes), ""),
                has_read=bool(commits),
            )
        return found
