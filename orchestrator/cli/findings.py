"""Prints findings: one line each for programs, wrapped for a terminal."""

import shutil
import sys
import textwrap
from collections.abc import Sequence

from orchestrator.cli.output import json_text, print_text
from schemas.findings import Finding, described
from schemas.printable import printable

_INDENT = 9
"""The longest severity and two spaces."""


def print_findings(findings: Sequence[Finding]) -> None:
    """Severity, difference, consequence and fix. On a terminal, wrapped at its width."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for finding in findings:
        print_text(finding_text(finding, width))


def finding_text(finding: Finding, width: int | None) -> str:
    """One line, or lines of at most ``width`` columns if the words are short enough."""
    text = printable(f"{finding.severity.value:<{_INDENT - 1}} {described(finding)}")
    if width is None:
        return text.replace("\n", " ")
    return textwrap.fill(
        text,
        width,
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def finding_json(finding: Finding) -> str:
    """One JSON object on one line."""
    fields = {name: str(getattr(finding, name)) for name in finding.__slots__}
    return json_text(fields)
