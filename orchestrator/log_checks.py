"""The checks of `orchestrator doctor` on logs: positions, identities, transactions, clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from orchestrator.layout import DLQ_INDEX, SINK, consumer_groups
from orchestrator.settings import Settings
from schemas.errors import OrchestratorError
from schemas.findings import Finding, Severity
from schemas.topics import Topics, dlq
from streams.errors import KafkaUnavailableError, PublishError
from streams.kafka.admin import Admin
from streams.kafka.broker_clock import BrokerClock
from streams.kafka.group_reading import group_positions
from streams.kafka.log_reader import LogReader
from streams.kafka.positions import Place, gaps
from streams.kafka.publisher import Publisher
from streams.ownership.adoption import Candidate, candidates
from streams.ownership.ports import Checkpoint
from tasks.pipeline import Pipelines

_SHOWN_MAX = 10
"""Findings of one kind; one cause often hits many partitions."""
_PROBE_S = 10.0


async def check_identities(settings: Settings, _pipelines: Pipelines) -> list[Finding]:
    """Find topics that are not the ones that routers remember.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    topics = Topics(settings.topics)
    # Another check reports missing topics; old brokers know no ids.
    seen = await candidates(settings.kafka, topics, [*topics.router_inputs, topics.task_events])
    return [finding for one in seen for finding in _identity_findings(one, topics)]


def _identity_findings(seen: Candidate, topics: Topics) -> list[Finding]:
    """The worst difference of one topic; each partition remembers the topic separately."""
    replaced, shorter, trimmed = [], [], []
    for known in seen.partitions:
        point = known.checkpoint
        if point is None:
            continue
        if point.topics.get(seen.topic, seen.topic_id) != seen.topic_id:
            replaced.append(known.partition)
        if known.end < _read_up_to(point, seen.topic, topics):
            shorter.append(known.partition)
        if seen.topic == topics.task_events and known.first > point.offset:
            trimmed.append(known.partition)
    adopt = f"orchestrator topics adopt {_short(seen.topic, topics)}"
    again = f"{adopt} --as again --execute --reason TEXT"
    if seen.topic == topics.task_events:
        # The log is the source of truth: a new one is never adopted.
        again = "restore it, or begin with new topics (ORCH_TOPICS_PREFIX)"
    differences = (
        ("the topic has another id than the one that is remembered", replaced, again),
        ("the topic is shorter than what was read of it", shorter, again),
        (
            "the log begins behind its checkpoint",
            trimmed,
            f"{adopt} --as trimmed --execute --reason TEXT",
        ),
    )
    return [
        Finding(
            severity=Severity.FATAL,
            about=seen.topic,
            what=f"{what} in partitions {', '.join(map(str, partitions))}",
            breaks="routers decide nothing in these partitions",
            fix=fix,
        )
        for what, partitions, fix in differences
        if partitions
    ][:1]


def _read_up_to(point: Checkpoint, topic: str, topics: Topics) -> int:
    """The lowest offset that a topic must reach, according to a checkpoint."""
    if topic == topics.task_events:
        return point.offset
    return point.decided_created + 1 if topic == topics.task_created else 0


def _short(topic: str, topics: Topics) -> str:
    """The name of a topic in the form that `topics adopt` takes."""
    return topic.removeprefix(topics.settings.prefix).removesuffix(".v1")


async def check_transactions(settings: Settings, pipelines: Pipelines) -> list[Finding]:
    """Find partitions that are read only up to a transaction that has not ended.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    topics = Topics(settings.topics)
    names = [*topics.router_inputs, *_lanes(topics, pipelines), topics.dlq_actions]
    names += [*map(dlq, names), topics.control]
    async with (
        LogReader(settings.kafka, client_id=_client(settings)) as committed,
        LogReader(settings.kafka, client_id=_client(settings), committed=False) as uncommitted,
    ):
        places = await committed.all_partitions(names)
        # Without the topics' metadata each topic would be waited for by itself.
        await uncommitted.all_partitions(names)
        # The stable offsets last: a transaction that ends in between does not count as open.
        ends = await uncommitted.ends(places)
        stable = await committed.ends(places)
    return [
        Finding(
            severity=Severity.WARNING,
            about=f"{topic}[{partition}]",
            what=f"a transaction is open since offset {stable[topic, partition]}",
            breaks=f"{end - stable[topic, partition]} offsets behind it are read by nobody",
            fix="kafka-transactions.sh --bootstrap-server $ORCH_KAFKA_BOOTSTRAP "
            f"describe-producers --topic {topic} --partition {partition}, then its abort",
        )
        for (topic, partition), end in sorted(ends.items())
        if stable[topic, partition] < end
    ][:_SHOWN_MAX]


async def check_positions(settings: Settings, pipelines: Pipelines) -> list[Finding]:
    """Find positions of groups that their topics do not hold.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    # These groups use the positions stored with the rows: only an end before one is a fault.
    stored = {settings.topics.prefix + role for role in (SINK, DLQ_INDEX)}
    found: list[Finding] = []
    async with (
        # The sink also reads records behind an open transaction.
        LogReader(settings.kafka, client_id=_client(settings), committed=False) as reader,
        Admin(settings.kafka) as admin,
    ):
        groups = consumer_groups(settings, pipelines)
        async for group, committed, bounds in group_positions(reader, admin, groups):
            if group in stored:
                bounds = {place: (0, end) for place, (_, end) in bounds.items()}
            found += _position_findings(group, committed, bounds)
    return found[:_SHOWN_MAX]


def _position_findings(
    group: str, committed: Mapping[Place, int], bounds: Mapping[Place, tuple[int, int]]
) -> Sequence[Finding]:
    return [
        Finding(
            severity=Severity.WARNING,
            about=f"{gap.topic}[{gap.partition}]",
            what=f"{group} stands at {gap.committed}, the topic goes from {gap.first} to {gap.end}",
            breaks=f"{gap.missing} records were removed before they were read"
            if gap.missing
            else "the group begins again with the first record",
            fix="a longer retention.ms, more replicas of the role"
            if gap.missing
            else "see whether the topic was made again",
        )
        for gap in gaps(committed, bounds)
    ]


async def check_clock(settings: Settings, _pipelines: Pipelines) -> list[Finding]:
    """Compare this machine's clock with the broker's. Writes a record that every reader ignores.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    topic = Topics(settings.topics).task_state
    at_most_ms = round(settings.router.clock_difference_max_s * 1000)
    async with Admin(settings.kafka) as admin:
        if not await admin.facts([topic]):
            return [_clock_finding(Severity.WARNING, f"not known: {topic} does not exist")]
    publisher = Publisher(settings.kafka, client_id=_client(settings))
    await publisher.open()
    try:
        clock = BrokerClock(publisher, topic)
        difference_ms = await probe(clock, at_most_ms=at_most_ms, timeout_s=_PROBE_S)
    except OrchestratorError as error:
        return [_clock_finding(Severity.WARNING, f"not known: {error}")]
    finally:
        # Closing would wait for a record that was not acknowledged.
        with suppress(PublishError):
            await publisher.close()
    if difference_ms is None:
        return [_clock_finding(Severity.WARNING, f"not known: {topic} keeps the writers' times")]
    if abs(difference_ms) > at_most_ms:
        return [_clock_finding(Severity.FATAL, f"{difference_ms / 1000:+.0f} s off the broker's")]
    return []


async def probe(clock: BrokerClock, *, at_most_ms: int, timeout_s: float) -> int | None:
    """Our clock minus the broker's, in milliseconds; None: the topic keeps the writers' times.

    Raises:
        KafkaUnavailableError: the broker did not acknowledge the record in time.
        PublishError, PublishRefusedError: see the publisher.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await clock.difference_ms(0, at_most_ms=at_most_ms)
    except TimeoutError as error:
        raise KafkaUnavailableError(
            f"the broker did not acknowledge a record in {timeout_s:g} s"
        ) from error


def _clock_finding(severity: Severity, what: str) -> Finding:
    return Finding(
        severity=severity,
        about="clock",
        what=what,
        breaks="a router on this machine would decide nothing"
        if severity is Severity.FATAL
        else "a router with a wrong clock is not noticed",
        fix="set the clock by NTP"
        if severity is Severity.FATAL
        else "orchestrator topics apply --fix",
    )


def _lanes(topics: Topics, pipelines: Pipelines) -> list[str]:
    return [lane for step in pipelines.step_names for lane in topics.lanes(step)]


def _client(settings: Settings) -> str:
    return f"{settings.kafka.client_id}-doctor"
