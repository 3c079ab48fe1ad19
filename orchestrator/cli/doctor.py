"""``orchestrator doctor``: checks whether the servers meet the needs of this system."""

import sys

import typer

from orchestrator.checks import Check, examine
from orchestrator.cli.environment import command_settings, no_system
from orchestrator.cli.findings import finding_json, print_findings
from orchestrator.cli.output import Output, OutputOption, print_note
from orchestrator.cli.running import run
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings
from schemas.findings import Finding, fatal

QUIET_S = 2.0
"""Seconds; a check that ends earlier is not named while it runs."""


def doctor(output: OutputOption = Output.TABLE) -> None:
    """Check Kafka and Postgres: what differs, what breaks, and the fix. Exit 1 if fatal.

    A server whose address is not set is left out, with a warning. Standard error names a check that
    takes more than 2 s. Changes nothing. The same differences are logged, and fatal ones refused,
    when a role starts.
    """
    settings = command_settings()
    if not (settings.kafka.bootstrap or settings.postgres.dsn):
        raise no_system()
    findings = run(_examined(settings))
    if output is Output.JSON:
        for finding in findings:
            sys.stdout.write(finding_json(finding) + "\n")
    else:
        print_findings(findings)
    if fatal(findings):
        raise typer.Exit(1)


async def _examined(settings: Settings) -> list[Finding]:
    pipelines = installed_pipelines(settings.pipelines)
    return await examine(settings, pipelines, on_slow=_name, slow_s=QUIET_S)


def _name(check: Check) -> None:
    print_note(f"checking {check.about} ({check.server.name.capitalize()}) ...")
