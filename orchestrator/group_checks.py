"""The checks of `orchestrator doctor` on consumer groups: readers, owners, lag, held services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.layout import DLQ_INDEX, ROUTER, SINK, STEP_PREFIX, consumer_groups
from orchestrator.settings import Settings
from schemas.findings import Finding, Severity
from streams.kafka.admin import Admin, Member
from streams.kafka.group_reading import GroupReading, group_readings
from streams.kafka.log_reader import LogReader
from tasks.pipeline import Pipelines

LAG_MAX = 10_000
"""Unread records of a group that reads; more are mentioned."""


async def check_groups(settings: Settings, pipelines: Pipelines) -> list[Finding]:
    """Find groups that nobody is in or that are far behind, partitions without an owner, and
    services whose commands are held back.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    client_id = f"{settings.kafka.client_id}-doctor-groups"
    readings = await read_groups(settings, pipelines, client_id=client_id)
    router = settings.topics.prefix + ROUTER
    async with Admin(settings.kafka) as admin:
        members = await admin.assignments(router)
    return [
        *group_findings(readings, prefix=settings.topics.prefix),
        *owner_findings(members, partitions=settings.topics.partitions),
    ]


async def read_groups(
    settings: Settings, pipelines: Pipelines, *, client_id: str
) -> dict[str, GroupReading]:
    """What every group of this system does with all its partitions.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    groups = consumer_groups(settings, pipelines)
    async with LogReader(settings.kafka, client_id=client_id, committed=False) as reader:
        places = {group: await reader.all_partitions(names) for group, names in groups.items()}
    return await group_readings(settings.kafka, places, client_id=client_id)


def group_findings(readings: Mapping[str, GroupReading], *, prefix: str) -> Iterator[Finding]:
    """What is wrong with the groups of a system. Pure."""
    if not any(reading.members for reading in readings.values()):
        yield _nothing_runs(readings, prefix)
        return
    for group, reading in readings.items():
        role = group.removeprefix(prefix)
        if not reading.members:
            yield Finding(
                severity=Severity.WARNING,
                about=role,
                what=f"no process is in its group; {reading.unread} records wait",
                breaks=_consequence(role),
                fix=f"orchestrator worker {role}; if one runs, it is paused, or cut off from Kafka",
            )
        elif reading.unread > LAG_MAX:
            yield Finding(
                severity=Severity.WARNING,
                about=role,
                what=f"{reading.unread} records wait for {reading.members} processes",
                breaks="tasks take longer",
                fix=f"start further processes of {role}, or see what it waits for (/readyz)",
            )
        if reading.note:
            yield Finding(
                severity=Severity.WARNING,
                about=role,
                what=f"it holds commands back: {reading.note}",
                breaks="its commands wait; nothing is lost",
                fix="bring the service back, or give it room: `orchestrator dlq stats --by code` "
                "says what it answers; the worker finds out by itself when it works again",
            )


def _nothing_runs(readings: Mapping[str, GroupReading], prefix: str) -> Finding:
    unread = sum(reading.unread for reading in readings.values())
    if any(reading.has_read for reading in readings.values()):
        return Finding(
            severity=Severity.FATAL,
            about="groups",
            what=f"no role of this system runs any more; {unread} records wait",
            breaks="no task goes on; nothing is lost",
            fix="orchestrator worker all, or worker ROLE for each role; a process that is there "
            "hangs, or is cut off from Kafka: end it with kill -9, and start it",
        )
    return Finding(
        severity=Severity.WARNING if unread else Severity.INFO,
        about="groups",
        what=f"no role of this system has run yet with the prefix {prefix}; {unread} records wait",
        breaks="nothing is lost; nothing goes on",
        fix="orchestrator worker all, or worker ROLE for each role; if roles run, set "
        "ORCH_TOPICS_PREFIX or ORCH_CONFIG as they do",
    )


def owner_findings(members: list[Member], *, partitions: int) -> Iterator[Finding]:
    """Partitions of tasks that no router has. Pure."""
    if not members:
        return
    owned = {partition for member in members for partition in member.partitions}
    missing = sorted(set(range(partitions)) - owned)
    if missing:
        yield Finding(
            severity=Severity.WARNING,
            about=ROUTER,
            what=f"partitions without an owner: {', '.join(map(str, missing))}",
            breaks="no task of these partitions goes on",
            fix="wait for the end of the rebalance; if it stays, restart the routers",
        )


def _consequence(role: str) -> str:
    if role.startswith(STEP_PREFIX):
        return "tasks wait at this step"
    return {
        ROUTER: "no task goes on",
        SINK: "lists and SQL show an older state; tasks go on",
        DLQ_INDEX: "new dead letters are not in lists; they are in their topics",
    }[role]
