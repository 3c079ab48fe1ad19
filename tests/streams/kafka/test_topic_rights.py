"""What an account may not read of its topics and groups is not known; what it may not create is
said."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.kafka_config import server_properties
from schemas.findings import Finding, Severity
from schemas.records import StepName
from schemas.topic_rules import topic_findings
from schemas.topics import Topics, TopicsSettings
from streams.errors import KafkaRightMissingError, TopicNotCreatedError
from streams.kafka.admin import Admin
from streams.settings import KafkaSettings

SETTINGS = TopicsSettings(partitions=1, replication_factor=1)
TOPICS = Topics(SETTINGS)
TABLE = TOPICS.table([StepName("retrieve")])
CLUSTER = "kafka-cluster"
EVERYTHING = (
    (ResourceType.TOPIC, "*", AclOperation.ALL, AclPermissionType.ALLOW),
    (ResourceType.BROKER, CLUSTER, AclOperation.ALL, AclPermissionType.ALLOW),
)


@pytest.fixture
async def guarded(server_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A Kafka with access rules, on which all topics exist."""
    authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"

    def with_rules(*, port: int, controller_port: int) -> str:
        return (
            server_properties(port=port, controller_port=controller_port)
            + f"authorizer.class.name={authorizer}\nallow.everyone.if.no.acl.found=true\n"
        )

    monkeypatch.setattr("orchestrator.local.embedded.kafka.server_properties", with_rules)
    server = EmbeddedKafka(server_dir / "guarded")
    await server.start()
    async with Admin(KafkaSettings(bootstrap=server.bootstrap)) as admin:
        await admin.apply(TABLE, SETTINGS)
    yield server.bootstrap
    await server.kill()


def deny(bootstrap: str, *rules: tuple[ResourceType, str, AclOperation]) -> None:
    bindings = [(*rule, AclPermissionType.DENY) for rule in rules]
    client = AdminClient({"bootstrap.servers": bootstrap})
    made = client.create_acls(
        [
            AclBinding(
                kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, allowed
            )
            for kind, name, operation, allowed in (*EVERYTHING, *bindings)
        ]
    )
    for future in made.values():
        future.result(20)


async def found(bootstrap: str, *, about: str = "") -> list[Finding]:
    """The findings; if ``about`` is given, as soon as one is about it: rules take a moment."""
    async with asyncio.timeout(20), Admin(KafkaSettings(bootstrap=bootstrap)) as admin:
        while True:
            facts = await admin.facts([topic.name for topic in TABLE])
            findings = topic_findings(TABLE, facts, SETTINGS)
            if not about or any(about in finding.about for finding in findings):
                return findings
            await asyncio.sleep(0.05)


async def test_what_the_account_may_not_read_is_a_warning_and_what_it_may_not_create_an_error(
    guarded: str,
) -> None:
    assert await found(guarded) == []

    deny(guarded, (ResourceType.TOPIC, TOPICS.task_events, AclOperation.DESCRIBE_CONFIGS))
    [config] = await found(guarded, about=TOPICS.task_events)
    assert (config.severity, config.about) == (Severity.WARNING, TOPICS.task_events)
    assert "DESCRIBE_CONFIGS" in config.fix

    every = [
        AclOperation.DESCRIBE,
        AclOperation.READ,
        AclOperation.WRITE,
        AclOperation.DELETE,
        AclOperation.ALTER,
    ]
    deny(guarded, *((ResourceType.TOPIC, TOPICS.task_state, operation) for operation in every))
    findings = await found(guarded, about=TOPICS.task_state)
    assert {finding.severity for finding in findings} == {Severity.WARNING}
    assert any(
        TOPICS.task_state in finding.about and "partitions are not known" in finding.what
        for finding in findings
    )

    rule = (ResourceType.TOPIC, "*", AclOperation.CREATE)
    deny(guarded, rule, (ResourceType.BROKER, CLUSTER, AclOperation.CREATE))
    refused = await refusal(guarded)
    assert "grant CREATE" in str(refused)


async def refusal(bootstrap: str) -> TopicNotCreatedError:
    """How new topics are refused, as soon as they are."""
    for number in count():
        other = TopicsSettings(prefix=f"other{number}.", partitions=1, replication_factor=1)
        async with asyncio.timeout(20), Admin(KafkaSettings(bootstrap=bootstrap)) as admin:
            try:
                await admin.apply(Topics(other).table([]), other)
            except TopicNotCreatedError as error:
                return error
    raise AssertionError


async def test_a_group_that_may_not_be_read_is_not_one_without_positions_and_members(
    guarded: str,
) -> None:
    group, place = "orchestrator.router", (TABLE[0].name, 0)
    deny(guarded, (ResourceType.GROUP, group, AclOperation.DESCRIBE))
    async with Admin(KafkaSettings(bootstrap=guarded)) as admin:
        await denied(lambda: admin.members([group]), group)
        for ask in (
            lambda: admin.committed(group, [place]),
            lambda: admin.commits(group, [place]),
            lambda: admin.assignments(group),
        ):
            with pytest.raises(KafkaRightMissingError, match=f"consumer group {group}$"):
                await ask()


async def denied(ask: Callable[[], Awaitable[object]], group: str) -> None:
    """Ask until the right is missing: rules take a moment."""
    async with asyncio.timeout(20):
        with suppress(KafkaRightMissingError):
            while True:
                assert await ask() == {group: 0}
