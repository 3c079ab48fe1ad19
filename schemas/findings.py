"""The result of a server check: each one is a line of `orchestrator doctor` and of a log."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """The severity of a finding, from good to bad."""

    OK = "ok"
    """As required."""
    INFO = "info"
    """Different, without a consequence."""
    WARNING = "warning"
    """Some function works worse, or a value is not known; processes start."""
    FATAL = "fatal"
    """Data are at risk, or the system cannot work: no process starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference between what a server has and what this system needs."""

    severity: Severity
    about: str
    """A topic, a setting or a server."""
    what: str
    """The actual value and the required one."""
    breaks: str = ""
    """The consequence of the difference."""
    fix: str = ""
    """A command, or a setting with its value."""


def fatal(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that stop a start."""
    return [finding for finding in findings if finding.severity is Severity.FATAL]


def described(finding: Finding) -> str:
    """A finding as one line of text."""
    parts = [f"{finding.about}: {finding.what}"]
    if finding.breaks:
        parts.append(f"Breaks: {finding.breaks}")
    if finding.fix:
        parts.append(f"Fix: {finding.fix}")
    return ". ".join(parts)
