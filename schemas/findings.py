"""What a check of a server found: one value for a line of `orchestrator doctor`, and of a log."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is, from good to bad."""

    OK = "ok"
    """As it must be."""
    INFO = "info"
    """Different, and nothing breaks."""
    WARNING = "warning"
    """Something works worse, or is not known; processes start."""
    FATAL = "fatal"
    """Data are at stake, or nothing can work: no process starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference between what a server has and what this system needs of it."""

    severity: Severity
    about: str
    """A topic, a setting or a server."""
    what: str
    """What is there, and what must be."""
    breaks: str = ""
    """What goes wrong with it."""
    fix: str = ""
    """A command, or a setting with its value."""


def fatal(findings: Iterable[Finding]) -> list[Finding]:
    """Those that stop a start."""
    return [finding for finding in findings if finding.severity is Severity.FATAL]


def described(finding: Finding) -> str:
    """A finding as one line of text."""
    parts = [f"{finding.about}: {finding.what}"]
    if finding.breaks:
        parts.append(f"Breaks: {finding.breaks}")
    if finding.fix:
        parts.append(f"Fix: {finding.fix}")
    return ". ".join(parts)
