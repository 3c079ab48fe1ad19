"""Checks of the servers that this system needs, run at every start and by `doctor`.

A check is a coroutine that returns findings; `orchestrator doctor` runs all of
:data:`CHECKS`. A new check is a function here (its comparison is a pure rule elsewhere) and a row
there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

import structlog

from orchestrator.acls import OPERATOR, AclRule, Resource, acls_of, missing_acls
from orchestrator.group_checks import check_groups
from orchestrator.layout import consumer_groups, topic_table
from orchestrator.log_checks import (
    check_clock,
    check_identities,
    check_positions,
    check_transactions,
)
from orchestrator.row_checks import check_rows
from orchestrator.service_checks import check_processes, check_registry, check_services
from orchestrator.settings import Settings
from schemas.errors import OrchestratorError
from schemas.findings import Finding, Severity, described, fatal
from schemas.topic_rules import topic_findings
from schemas.topics import Topics
from sinks.errors import PostgresRefusedError, SinkBlockedError
from sinks.server.check import check_server
from streams.errors import KafkaRightMissingError, TopicsDifferError
from streams.kafka.admin import Admin
from tasks.pipeline import Pipelines

log = structlog.get_logger()


_RIGHTS_SHOWN = 5
_SHOWN = 8
"""Missing rights in an error; a whole list would hide what is wrong."""


class Server(StrEnum):
    """The server that a check asks; the value is the setting with its address."""

    KAFKA = "ORCH_KAFKA_BOOTSTRAP"
    POSTGRES = "ORCH_POSTGRES_DSN"
    OTHERS = ""
    """Each other server by itself: services, the registry, the processes of the system."""


class Check(NamedTuple):
    """One check of `orchestrator doctor`."""

    server: Server
    about: str
    good: str
    """The text if nothing differs."""
    run: Callable[[Settings, Pipelines], Awaitable[Sequence[Finding]]]


async def check_kafka(settings: Settings, pipelines: Pipelines) -> list[Finding]:
    """The differences between the topics of the cluster and the table.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    async with Admin(settings.kafka) as admin:
        topics = await admin.on_cluster(settings.topics)
        table = topic_table(settings, pipelines, topics)
        facts = await admin.facts([topic.name for topic in table])
    return topic_findings(table, facts, topics)


async def acls_missing(role: str, settings: Settings, pipelines: Pipelines) -> list[str]:
    """The rights of :func:`~orchestrator.acls.acls_of` that this account does not have.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    topics = Topics(settings.topics)
    rights = acls_of(role, topics)
    names = [topic.name for topic in topic_table(settings, pipelines)]
    groups = [group for group in consumer_groups(settings, pipelines) if _is_needed(group, rights)]
    async with Admin(settings.kafka) as admin:
        on_topics, on_groups = await admin.allowed(names, groups)
    return missing_acls(rights, on_topics, on_groups)


def _is_needed(group: str, rights: Sequence[AclRule]) -> bool:
    return any(right.resource is Resource.GROUP and right.covers(group) for right in rights)


async def check_rights(settings: Settings, pipelines: Pipelines) -> list[Finding]:
    """The rights on topics and groups that an operator's account needs and this one lacks.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    missing = await acls_missing(OPERATOR, settings, pipelines)
    if not missing:
        return []
    return [
        Finding(
            severity=Severity.WARNING,
            about="rights",
            what=f"this account may not: {'; '.join(missing[:_RIGHTS_SHOWN])} ({len(missing)})",
            breaks="commands about dead letters and topics are refused",
            fix="orchestrator topics acls operator --principal User:NAME prints the rules",
        )
    ]


async def check_postgres(settings: Settings, _pipelines: Pipelines) -> list[Finding]:
    """The differences of the server, the database and the account from what the projection needs.

    Raises:
        SinkUnavailableError: the server did not answer, or refuses the account.
        PostgresRefusedError: the address is wrong.
    """
    try:
        return await check_server(settings.postgres)
    except ValueError as error:
        # The driver's message may quote the address, with its password.
        raise PostgresRefusedError("the DSN is not a libpq URI of a database") from error


async def check_cluster(role: str, settings: Settings, pipelines: Pipelines) -> None:
    """Compare topics and rights with what a role needs; log what does no harm, refuse the rest.

    Args:
        role: a role, or ``serve``.
        settings: with the brokers.
        pipelines: their steps have topics.

    Raises:
        KafkaRightMissingError: the account may not do what the role does.
        TopicsDifferError: topics are missing, or differ so that records are lost or disordered.
        KafkaUnavailableError: no broker answers.
    """
    missing = await acls_missing(role, settings, pipelines)
    if missing:
        shown = "; ".join(missing[:_SHOWN]) + ("; …" if len(missing) > _SHOWN else "")
        raise KafkaRightMissingError(
            f"this account may not: {shown} ({len(missing)} in all). "
            f"`orchestrator topics acls {role} --principal User:NAME` prints the rules it needs"
        )
    findings = await check_kafka(settings, pipelines)
    log_findings(findings)
    wrong = fatal(findings)
    if wrong:
        raise TopicsDifferError("; ".join(map(described, wrong)))


CHECKS: tuple[Check, ...] = (
    Check(Server.KAFKA, "kafka", "all topics are as the table says", check_kafka),
    Check(Server.KAFKA, "identities", "topics are those that routers remember", check_identities),
    Check(Server.KAFKA, "positions", "groups stand where topics have records", check_positions),
    Check(Server.KAFKA, "transactions", "no transaction holds up a reader", check_transactions),
    Check(
        Server.KAFKA, "groups", "every role has a process, every partition an owner", check_groups
    ),
    Check(Server.KAFKA, "rights", "this account may do what an operator does", check_rights),
    Check(Server.KAFKA, "clock", "this machine's clock is near the broker's", check_clock),
    Check(
        Server.POSTGRES,
        "postgres",
        "version, encoding, migrations, rights and settings fit",
        check_postgres,
    ),
    Check(Server.POSTGRES, "rows", "rows belong to the logs of this system", check_rows),
    Check(
        Server.OTHERS, "services", "the service of every step accepts connections", check_services
    ),
    Check(Server.OTHERS, "registry", "the schema registry answers, or none is set", check_registry),
    Check(Server.OTHERS, "processes", "all known processes are ready", check_processes),
)
"""In the order in which they are printed."""


async def examine(
    settings: Settings,
    pipelines: Pipelines,
    *,
    checks: Sequence[Check] | None = None,
    on_slow: Callable[[Check], None] = lambda _: None,
    slow_s: float = 2.0,
) -> list[Finding]:
    """Run checks; a server that does not answer, or is not set, is a finding, too.

    The checks of a server run at the same time when its first one has had an answer. A server
    that does not answer is one finding. A server whose address is not set is left out, with a
    warning.

    Args:
        settings: with the addresses of the servers.
        pipelines: their steps have topics.
        checks: some of :data:`CHECKS`, in their order; all of them by default.
        on_slow: called with each check that has not ended after ``slow_s``.
        slow_s: seconds.
    """
    addresses = {
        Server.KAFKA: settings.kafka.bootstrap,
        Server.POSTGRES: settings.postgres.dsn,
    }
    checks = CHECKS if checks is None else checks
    asked = [server for server in Server if any(check.server is server for check in checks)]
    away = {server for server in asked if not addresses.get(server, "itself")}
    found = [_not_set(server, checks) for server in asked if server in away]

    async def run(check: Check) -> Sequence[Finding] | OrchestratorError:
        slow = asyncio.get_running_loop().call_later(slow_s, on_slow, check)
        try:
            return await check.run(settings, pipelines)
        except OrchestratorError as error:
            return error
        finally:
            slow.cancel()

    of_servers = [
        [check for check in checks if check.server is server]
        for server in asked
        if server not in away
    ]
    ended = await asyncio.gather(*(_ended(of_server, run) for of_server in of_servers))
    return found + [finding for findings in ended for finding in findings]


_Run = Callable[[Check], Awaitable[Sequence[Finding] | OrchestratorError]]


async def _ended(checks: Sequence[Check], run: _Run) -> list[Finding]:
    """The findings of a server's checks, in the order of the table."""
    first, *others = checks
    answers = {first: await run(first)}
    if not isinstance(answers[first], OrchestratorError):
        answers |= zip(others, await asyncio.gather(*map(run, others)), strict=True)
    found: list[Finding] = []
    away = False
    for check, answer in answers.items():
        if not isinstance(answer, OrchestratorError):
            good = Finding(severity=Severity.OK, about=check.about, what=check.good)
            found += answer or [good]
        elif not away:
            found.append(_unanswered(check, answer))
            away = True
    return found


def log_findings(findings: Sequence[Finding]) -> None:
    """Log each difference that does not stop the start, in one line."""
    for finding in findings:
        tell = {Severity.WARNING: log.warning, Severity.INFO: log.info}.get(finding.severity)
        if tell is not None:
            tell(
                "server_differs",
                about=finding.about,
                what=finding.what,
                breaks=finding.breaks,
                fix=finding.fix,
            )


def _not_set(server: Server, checks: Sequence[Check]) -> Finding:
    left_out = ", ".join(check.about for check in checks if check.server is server)
    return Finding(
        severity=Severity.WARNING,
        about=server.name.lower(),
        what="its address is not set",
        breaks=f"nothing by itself; not checked: {left_out}",
        fix=f"set {server}",
    )


def _unanswered(check: Check, error: OrchestratorError) -> Finding:
    return Finding(
        severity=Severity.FATAL,
        about=check.about,
        what=f"{error.code}: {error}",
        breaks="whoever needs it waits",
        # A server that answered, and refuses, is not away: the message says what to change.
        fix="see that the server runs, and that its address is right"
        if error.retriable and not isinstance(error, SinkBlockedError)
        else "change what the message names; the page of errors explains its code",
    )
