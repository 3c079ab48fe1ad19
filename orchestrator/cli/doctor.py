"""``orchestrator doctor``: checks whether the servers meet the needs of this system."""

import sys
from typing import Annotated

import typer

from orchestrator.checks import CHECKS, Check, examine
from orchestrator.cli.environment import command_settings, no_system
from orchestrator.cli.findings import finding_json, print_findings
from orchestrator.cli.output import Output, OutputOption, print_note
from orchestrator.cli.running import run
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings
from schemas.findings import Finding, fatal

QUIET_S = 2.0
"""Seconds; a check that ends earlier is not named while it runs."""


def doctor(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="CHECK", help="Run this check; give it again for another."),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option("--skip", metavar="CHECK", help="Leave this check out; may be given again."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check Kafka and Postgres: what differs, what breaks, and the fix. Exit 1 if fatal.

    A server whose address is not set is left out, with a warning. Standard error names a check that
    takes more than 2 s. Changes nothing. The same differences are logged, and fatal ones refused,
    when a role starts.

    A machine on which not everything can be reached leaves checks out: kafka, identities,
    positions, transactions, groups, rights, clock, postgres, services, registry, processes.
    """
    checks = _chosen(only or [], skip or [])
    settings = command_settings()
    if not (settings.kafka.bootstrap or settings.postgres.dsn):
        raise no_system()
    findings = run(_examined(settings, checks))
    if output is Output.JSON:
        for finding in findings:
            sys.stdout.write(finding_json(finding) + "\n")
    else:
        print_findings(findings)
    if fatal(findings):
        raise typer.Exit(1)


def _chosen(only: list[str], skip: list[str]) -> list[Check]:
    known = [check.about for check in CHECKS]
    if unknown := [name for name in (*only, *skip) if name not in known]:
        raise typer.BadParameter(f"there is no check {unknown[0]!r}; checks: {', '.join(known)}")
    chosen = [
        check for check in CHECKS if check.about in (only or known) and check.about not in skip
    ]
    if not chosen:
        raise typer.BadParameter("--only and --skip leave no check")
    return chosen


async def _examined(settings: Settings, checks: list[Check]) -> list[Finding]:
    pipelines = installed_pipelines(settings.pipelines)
    return await examine(settings, pipelines, checks=checks, on_slow=_name, slow_s=QUIET_S)


def _name(check: Check) -> None:
    print_note(f"checking {check.about} ({check.server.name.capitalize()}) ...")
