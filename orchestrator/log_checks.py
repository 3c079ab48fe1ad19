"""What `orchestrator doctor` asks of the logs: positions, identities, transactions, clocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.layout import ROUTER, STEP_PREFIX
from orchestrator.settings import Settings
from schemas.errors import OrchestratorError
from schemas.findings import Finding, Severity
from schemas.topics import Topics, dlq
from streams.admin import Admin
from streams.adoption import Candidate, candidate
from streams.broker_clock import BrokerClock
from streams.errors import AdoptionRefusedError
from streams.log_reader import LogReader
from streams.positions import Place, gaps
from streams.publisher import Publisher
from tasks.pipeline import Pipelines

_SHOWN_MAX = 10
"""Findings of one kind; one cause often hits many partitions."""


async def check_identities(settings: Settings, _pipelines: Pipelines) -> list[Finding]:
    """Topics that are not those that routers remember.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    topics = Topics(settings.topics)
    found: list[Finding] = []
    for topic in (*topics.router_inputs, topics.task_events):
        try:
            seen = await candidate(settings.kafka, topics, topic)
        except AdoptionRefusedError:
            # Topics that are missing are another check's; old brokers know no ids.
            continue
        found += _identity_findings(seen, topics)
    return found


def _identity_findings(seen: Candidate, topics: Topics) -> list[Finding]:
    """The differences of one topic, of which each partition remembers for itself."""
    short = seen.topic.removeprefix(topics.settings.prefix).removesuffix(".v1")
    replaced, trimmed, shorter = [], [], []
    for known in seen.partitions:
        point = known.checkpoint
        if point is None:
            continue
        if point.topics.get(seen.topic, seen.topic_id) != seen.topic_id:
            replaced.append(known.partition)
        if seen.topic == topics.task_events and known.first > point.offset:
            trimmed.append(known.partition)
        if seen.topic == topics.task_events and known.end < point.offset:
            shorter.append(known.partition)
        if seen.topic == topics.task_created and known.end <= point.decided_created:
            shorter.append(known.partition)
    return [
        Finding(
            severity=Severity.WARNING,
            about=seen.topic,
            what=f"{what} in partitions {', '.join(map(str, partitions))}",
            breaks="routers decide nothing in these partitions until it is adopted",
            fix=f"orchestrator topics adopt {short} --as {how}",
        )
        for what, partitions, how in (
            ("the topic has another id than the one that is remembered", replaced, "again"),
            ("the log begins behind its checkpoint", trimmed, "trimmed"),
            ("the topic is shorter than what was read of it", shorter, "again"),
        )
        if partitions
    ]


async def check_transactions(settings: Settings, pipelines: Pipelines) -> list[Finding]:
    """Partitions that are read only up to a transaction that has not ended.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    topics = Topics(settings.topics)
    names = [*topics.router_inputs, *_lanes(topics, pipelines)]
    names += [dlq(name) for name in names]
    async with (
        LogReader(settings.kafka, client_id=_client(settings)) as committed,
        LogReader(settings.kafka, client_id=_client(settings), committed=False) as uncommitted,
    ):
        places = await committed.all_partitions(names)
        # The stable offsets last: what ends in between is not taken for open.
        ends = await uncommitted.ends(places)
        stable = await committed.ends(places)
    return [
        Finding(
            severity=Severity.WARNING,
            about=f"{topic}[{partition}]",
            what=f"a transaction is open since offset {stable[topic, partition]}",
            breaks=f"{end - stable[topic, partition]} offsets behind it are read by nobody",
            fix="kafka-transactions.sh --bootstrap-server $ORCH_KAFKA_BOOTSTRAP find-hanging "
            f"--topic {topic} --partition {partition}; then its abort",
        )
        for (topic, partition), end in sorted(ends.items())
        if stable[topic, partition] < end
    ][:_SHOWN_MAX]


async def check_positions(settings: Settings, pipelines: Pipelines) -> list[Finding]:
    """Positions of groups that their topics do not hold.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    topics, prefix = Topics(settings.topics), settings.topics.prefix
    groups = {prefix + ROUTER: topics.router_inputs}
    groups |= {prefix + STEP_PREFIX + step: topics.lanes(step) for step in pipelines.step_names}
    found: list[Finding] = []
    async with (
        LogReader(settings.kafka, client_id=_client(settings)) as reader,
        Admin(settings.kafka) as admin,
    ):
        for group, names in groups.items():
            places = await reader.all_partitions(names)
            bounds = await reader.all_bounds(places)
            found += _position_findings(group, await admin.committed(group, places), bounds)
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
    """How far this machine's clock is from the broker's. Writes a record that no reader takes.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    topic = Topics(settings.topics).task_state
    at_most_ms = round(settings.router.clock_difference_max_s * 1000)
    async with Admin(settings.kafka) as admin:
        if not await admin.partition_counts([topic]):
            return [_clock_finding(Severity.WARNING, f"not known: {topic} does not exist")]
    publisher = Publisher(settings.kafka, client_id=_client(settings))
    await publisher.open()
    try:
        clock = BrokerClock(publisher, topic)
        difference_ms = await clock.difference_ms(0, at_most_ms=at_most_ms)
    except OrchestratorError as error:
        return [_clock_finding(Severity.WARNING, f"not known: {error}")]
    finally:
        await publisher.close()
    if difference_ms is None:
        return [_clock_finding(Severity.WARNING, f"not known: {topic} keeps the writers' times")]
    if abs(difference_ms) > at_most_ms:
        return [_clock_finding(Severity.FATAL, f"{difference_ms / 1000:+.0f} s off the broker's")]
    return []


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
