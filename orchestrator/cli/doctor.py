"""``orchestrator doctor``: checks whether the servers meet the needs of this system."""

import asyncio
import sys
import time

import typer

from orchestrator.checks import Check, examine
from orchestrator.cli.environment import command_settings
from orchestrator.cli.findings import finding_json, print_findings
from orchestrator.cli.output import Output, OutputOption
from orchestrator.cli.running import run
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings
from schemas.findings import Finding, fatal

QUIET_S = 2.0
"""Seconds; a check that ends earlier is not named while it runs."""


def doctor(output: OutputOption = Output.TABLE) -> None:
    """Check Kafka and Postgres: what differs, what breaks, and the fix. Exit 1 if fatal.

    A server whose address is not set is left out, with a warning. After 2 s standard error names
    the check that runs. Changes nothing. The same differences are logged, and fatal ones refused,
    when a role starts.
    """
    findings = run(_examined(command_settings()))
    if output is Output.JSON:
        for finding in findings:
            sys.stdout.write(finding_json(finding) + "\n")
    else:
        print_findings(findings)
    if fatal(findings):
        raise typer.Exit(1)


async def _examined(settings: Settings) -> list[Finding]:
    progress = _Progress()
    watching = asyncio.create_task(progress.watch())
    try:
        return await examine(settings, installed_pipelines(settings.pipelines), progress.begin)
    finally:
        watching.cancel()


class _Progress:
    """Names the running check on standard error after ``QUIET_S``."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._checking = ""

    def begin(self, check: Check) -> None:
        self._checking = f"{check.about} ({check.server.name.capitalize()})"
        if time.monotonic() - self._began_s >= QUIET_S:
            self._say()

    async def watch(self) -> None:
        await asyncio.sleep(QUIET_S)
        if self._checking:
            self._say()

    def _say(self) -> None:
        print(f"checking {self._checking} ...", file=sys.stderr, flush=True)
