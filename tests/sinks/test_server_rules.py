"""What differs between a Postgres server and what the projection needs. Pure."""

from dataclasses import replace

import pytest

from schemas.findings import Severity
from sinks.server.rules import ServerFacts, server_findings

GOOD = ServerFacts(
    version=18,
    encoding="UTF8",
    max_connections=97,
    settings={"fsync": "on", "default_transaction_read_only": "off"},
    pending=[],
    changed=False,
    rights={"INSERT on tasks": True},
)


@pytest.mark.parametrize("version", [15, 16, 17, 18])
def test_a_server_that_fits_has_no_findings(version: int) -> None:
    assert server_findings(replace(GOOD, version=version), pool_max_size=4) == []


@pytest.mark.parametrize(
    ("change", "severity", "said"),
    [
        ({"version": 14}, Severity.FATAL, "version 14"),
        ({"version": 19}, Severity.WARNING, "version 19"),
        ({"encoding": "LATIN1"}, Severity.FATAL, "LATIN1"),
        ({"encoding": "SQL_ASCII"}, Severity.FATAL, "SQL_ASCII"),
        ({"pending": ["0001_pre_a.sql"]}, Severity.FATAL, "0001_pre_a.sql"),
        ({"changed": True}, Severity.FATAL, "differs from its file"),
        ({"newer": ["0099_pre_a.sql"]}, Severity.INFO, "last 0099_pre_a.sql"),
        ({"newer": ["0098_post_a.sql", "0099_pre_b.sql"]}, Severity.WARNING, "2 migrations"),
        ({"rights": {"UPDATE on tasks": False}}, Severity.WARNING, "UPDATE on tasks"),
        ({"max_connections": 11}, Severity.WARNING, "11 connections"),
        ({"settings": {"fsync": "off"}}, Severity.WARNING, "fsync is off"),
        (
            {"settings": {"default_transaction_read_only": "on"}},
            Severity.WARNING,
            "default_transaction_read_only",
        ),
    ],
)
def test_each_difference_says_what_breaks_and_the_fix(
    change: dict[str, object], severity: Severity, said: str
) -> None:
    [finding] = server_findings(replace(GOOD, **change), pool_max_size=4)  # type: ignore[arg-type]

    assert finding.severity is severity
    assert said in finding.what
    assert finding.breaks
    assert finding.fix


def test_a_migration_of_after_the_deployment_stops_nobody() -> None:
    assert server_findings(replace(GOOD, pending=["0100_post_a.sql"]), pool_max_size=4) == []
