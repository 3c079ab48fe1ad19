"""What this system needs of its servers, asked and compared: at every start, and by `doctor`.

A check is a coroutine that returns findings; :data:`CHECKS` is all that `orchestrator doctor`
runs. A new check is a function here (what is compared is a pure rule elsewhere) and a row there.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import structlog

from orchestrator.layout import topic_table
from orchestrator.settings import Settings
from schemas.errors import OrchestratorError
from schemas.findings import Finding, Severity
from schemas.topic_rules import topic_findings
from sinks.errors import PostgresRefusedError
from sinks.server_check import check_server
from streams.admin import Admin
from tasks.pipeline import Pipelines

log = structlog.get_logger()


class Check(NamedTuple):
    """One check of `orchestrator doctor`."""

    about: str
    good: str
    """What is said where nothing differs."""
    run: Callable[[Settings, Pipelines], Awaitable[Sequence[Finding]]]


async def check_kafka(settings: Settings, pipelines: Pipelines) -> list[Finding]:
    """How the topics of the cluster differ from the table.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    table = topic_table(settings, pipelines)
    async with Admin(settings.kafka) as admin:
        facts = await admin.facts([topic.name for topic in table])
    return topic_findings(table, facts, settings.topics)


async def check_postgres(settings: Settings, _pipelines: Pipelines) -> list[Finding]:
    """How the server, the database and the account differ from what the projection needs.

    Raises:
        SinkUnavailableError: no answer, or the account is refused.
        PostgresRefusedError: the address is wrong.
    """
    try:
        return await check_server(settings.postgres)
    except ValueError as error:
        # The driver's message may quote the address, with its password.
        raise PostgresRefusedError("the DSN is not a libpq URI of a database") from error


CHECKS: tuple[Check, ...] = (
    Check("kafka", "all topics are as the table says", check_kafka),
    Check("postgres", "version, encoding, migrations, rights and settings fit", check_postgres),
)
"""In the order in which they are printed."""


async def examine(settings: Settings, pipelines: Pipelines) -> list[Finding]:
    """Run all checks; a server that does not answer, or is not set, is a finding, too."""
    found: list[Finding] = []
    for check in CHECKS:
        try:
            differences = await _asked(check, settings, pipelines)
        except OrchestratorError as error:
            differences = [_unanswered(check, error)]
        found += differences or [Finding(severity=Severity.OK, about=check.about, what=check.good)]
    return found


def log_findings(findings: Sequence[Finding]) -> None:
    """One line for each difference that does not stop the start."""
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


async def _asked(check: Check, settings: Settings, pipelines: Pipelines) -> Sequence[Finding]:
    address = {"kafka": settings.kafka.bootstrap, "postgres": settings.postgres.dsn}
    if not address.get(check.about, "-"):
        name = {"kafka": "ORCH_KAFKA_BOOTSTRAP", "postgres": "ORCH_POSTGRES_DSN"}[check.about]
        return [
            Finding(
                severity=Severity.FATAL,
                about=check.about,
                what="its address is not set",
                breaks="nothing was checked",
                fix=f"set {name}",
            )
        ]
    return await check.run(settings, pipelines)


def _unanswered(check: Check, error: OrchestratorError) -> Finding:
    return Finding(
        severity=Severity.FATAL,
        about=check.about,
        what=f"{error.code}: {error}",
        breaks="whoever needs it waits",
        fix="see that the server runs, and that its address is right",
    )
