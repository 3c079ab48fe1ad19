"""What is wrong with consumer groups, by their members, their lag and their notes."""

from orchestrator.group_checks import LAG_MAX, group_findings, owner_findings
from schemas.findings import Severity
from streams.kafka.admin import Member
from streams.kafka.group_reading import GroupReading


def a_reading(
    members: int = 1, unread: int = 0, note: str = "", *, has_read: bool = False
) -> GroupReading:
    return GroupReading(members=members, unread=unread, note=note, has_read=has_read)


def test_groups_that_read_are_fine() -> None:
    readings = {"o.router": a_reading(), "o.sink": a_reading(unread=LAG_MAX)}

    assert list(group_findings(readings, prefix="o.")) == []


def test_a_system_of_which_nothing_runs_is_one_finding() -> None:
    nothing = {"o.router": a_reading(members=0), "o.sink": a_reading(members=0)}
    waiting = nothing | {"o.sink": a_reading(members=0, unread=1)}

    [idle], [stopped] = (list(group_findings(r, prefix="o.")) for r in (nothing, waiting))
    assert (idle.severity, stopped.severity) == (Severity.INFO, Severity.WARNING)


def test_a_system_that_ran_and_of_which_nothing_runs_is_fatal_also_if_nothing_waits() -> None:
    gone = {"o.router": a_reading(members=0, has_read=True), "o.sink": a_reading(members=0)}

    [found] = group_findings(gone, prefix="o.")
    assert (found.severity, "kill -9" in found.fix) == (Severity.FATAL, True)


def test_a_group_that_is_far_behind_is_named_with_its_processes() -> None:
    readings = {"o.step.generate": a_reading(members=2, unread=LAG_MAX + 1)}
    [found] = group_findings(readings, prefix="o.")

    assert (found.about, found.what) == ("step.generate", "10001 records wait for 2 processes")


def test_partitions_that_no_router_has_are_named() -> None:
    members = [Member("a", frozenset({0, 1})), Member("b", frozenset({3}))]
    [found] = owner_findings(members, partitions=6)

    assert found.what == "partitions without an owner: 2, 4, 5"
    assert list(owner_findings(members, partitions=2)) == []
    # Without a router there is another finding.
    assert list(owner_findings([], partitions=2)) == []
