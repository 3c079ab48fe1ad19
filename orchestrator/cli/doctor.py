"""``orchestrator doctor``: whether the servers are what this system needs."""

import sys

import typer

from orchestrator.checks import examine
from orchestrator.cli.environment import command_settings
from orchestrator.cli.findings import finding_json, print_findings
from orchestrator.cli.output import Output, OutputOption
from orchestrator.cli.running import run
from orchestrator.pipelines import installed_pipelines
from schemas.findings import fatal


def doctor(output: OutputOption = Output.TABLE) -> None:
    """Check Kafka and Postgres: what differs, what breaks, and the fix. Exit 1 if fatal.

    Changes nothing. The same differences are logged, and fatal ones refused, when a role starts.
    """
    settings = command_settings()
    findings = run(examine(settings, installed_pipelines(settings.pipelines)))
    if output is Output.JSON:
        for finding in findings:
            sys.stdout.write(finding_json(finding) + "\n")
    else:
        print_findings(findings)
    if fatal(findings):
        raise typer.Exit(1)
