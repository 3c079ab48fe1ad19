"""How the run under kills tells what a kill cost."""

import pytest

from benchmarks.kills import recovery_s, rows_of

BOTH = {0: [(0.5, 0.7), (1.2, 9.0), (2.0, 4.0)], 1: [(1.1, 1.3)]}
"""For each partition: when tasks were due, and when their rows were written."""


@pytest.mark.parametrize(
    ("killed_at", "expected"),
    [
        pytest.param(1.0, 3.0, id="until the slowest partition's first row of a later task"),
        pytest.param(0.0, 1.3, id="a task that was due later counts, whichever is done first"),
        pytest.param(1.15, None, id="a partition without a later task says nothing"),
    ],
)
def test_recovery_ends_when_each_partition_has_a_row_of_a_later_task(
    killed_at: float, expected: float | None
) -> None:
    assert recovery_s(BOTH, killed_at) == expected


def test_a_role_that_was_not_killed_has_no_row() -> None:
    found = {
        **dict.fromkeys(("kills", "tasks", "lost", "doubled", "second_calls", "calls"), 1),
        **dict.fromkeys(("rate", "calm_s", "recovery_p50_s", "recovery_p95_s", "cancels"), 1.0),
        **dict.fromkeys(("cancel_p50_ms", "cancel_p95_ms", "p50_ms", "p99_ms"), 1.0),
        "by_role": {"router": [1.0, 3.0, 2.0], "sink": []},
    }

    of_roles = [row for row in rows_of(found) if "kill of" in row[0]]

    assert of_roles == [
        ["recovery from a kill of `router`, median (longest), 3 kills", "2.0 s (3.0 s)"]
    ]
