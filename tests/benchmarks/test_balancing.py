"""The program that compares the rules of balancing."""

from __future__ import annotations

import pytest

from benchmarks import balancing

pytestmark = pytest.mark.slow


async def test_the_slow_one_of_three_instances_gets_few_calls_with_least_outstanding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(balancing, "ROUNDS", 1)

    part = await balancing.main(calls=200, at_once=8)

    assert part["least outstanding of two"] < part["round robin"] / 2
