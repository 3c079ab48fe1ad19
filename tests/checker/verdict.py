"""What the checker finds: violations, and statistics that show whether a test tested."""

from dataclasses import dataclass, field

from tests.checker.wire import Position


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken, and where."""

    code: str
    """Stable, upper snake."""
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.code} at {self.where}: {self.what}"


@dataclass(slots=True)
class Statistics:
    """Counts; none of them is good or bad by itself."""

    tasks: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    events: int = 0
    """Accepted ones, markers not counted."""
    markers: int = 0
    ignored_events: int = 0
    """Not accepted by the acceptance rule, whoever wrote them."""
    zombie_events: int = 0
    """Ignored ones that a former owner wrote after its successor's marker."""
    decided_not_committed: int = 0
    """Inputs whose event is in the log and which the router's group gets again."""
    duplicate_commands: int = 0
    """Copies of step commands beyond the first in a topic: redone, or sent again."""
    duplicate_results: int = 0
    """Copies of results (not of `started`) beyond the first: an attempt was answered again."""
    late_results: int = 0
    """Results that counted for nothing."""
    refused_commands: int = 0
    forwarded: int = 0
    dead_letters: int = 0
    duplicate_letters: int = 0
    snapshots: int = 0
    checkpoints: int = 0


@dataclass(slots=True)
class Findings:
    """Collects while the rules run."""

    violations: list[Violation] = field(default_factory=list)
    statistics: Statistics = field(default_factory=Statistics)

    def add(self, code: str, where: Position | str, what: str) -> None:
        text = where if isinstance(where, str) else "{}[{}]@{}".format(*where)
        self.violations.append(Violation(code, text, what))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a check."""

    violations: tuple[Violation, ...]
    statistics: Statistics

    @property
    def codes(self) -> set[str]:
        return {violation.code for violation in self.violations}

    def __str__(self) -> str:
        shown = [str(violation) for violation in self.violations[:30]]
        left = len(self.violations) - len(shown)
        more = [f"... and {left} more"] if left else []
        return "\n".join(
            [f"{len(self.violations)} violations", *shown, *more, str(self.statistics)]
        )
