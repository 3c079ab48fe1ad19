"""A process with a name comes back to its partitions, and the others notice nothing."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.local.embedded.process import Child
from streams.settings import KafkaSettings
from tests.streams.building import until

MEMBER = Path(__file__).with_name("member.py")


@pytest.fixture
def members(
    kafka: KafkaSettings, group: str, topics: list[str], tmp_path: Path
) -> Iterator[list[Child]]:
    """Two processes of one group, with names; not started."""
    found = [
        Child(
            name,
            [sys.executable, str(MEMBER), kafka.bootstrap, group, topics[0], name],
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
            log_path=tmp_path / name,
        )
        for name in ("one", "two")
    ]
    yield found
    for member in found:
        member.kill()


async def test_a_process_that_comes_back_under_its_name_gets_its_partitions_at_once(
    members: list[Child],
) -> None:
    one, two = members
    one.start()
    await until(lambda: len(assignments(one)) == 1)
    two.start()
    await until(lambda: shared(one, two))
    before, others_before = assignments(one)[-1], assignments(two)

    for life, how in ((3, signal.SIGKILL), (4, signal.SIGTERM)):
        await one.stop(20.0, how)
        one.start()
        await until(lambda lives=life: len(assignments(one)) == lives)  # type: ignore[misc]

        # In the same generation: there was no rebalance.
        assert assignments(one)[-1] == before
        assert assignments(two) == others_before


async def test_a_process_that_comes_back_with_another_topic_gets_that_topic(
    kafka: KafkaSettings, group: str, topics: list[str], tmp_path: Path
) -> None:
    def a_member(*names: str) -> Child:
        command = [sys.executable, str(MEMBER), kafka.bootstrap, group, ",".join(names), "one"]
        env = {**os.environ, "PYTHONPATH": str(Path.cwd())}
        return Child("one", command, env=env, log_path=tmp_path / f"with-{len(names)}")

    before, after = a_member(topics[0]), a_member(*topics[:2])
    try:
        before.start()
        await until(lambda: len(assignments(before)) == 1)
        await before.stop(20.0, signal.SIGTERM)
        after.start()
        await until(lambda: len(assignments(after)) >= 1)
        assert assignments(before)[-1]["topics"] == topics[:1]
        await until(lambda: assignments(after)[-1]["topics"] == sorted(topics[:2]))
    finally:
        before.kill()
        after.kill()


def assignments(member: Child) -> list[dict[str, Any]]:
    """What the group assigned to a member, in all its lives."""
    if not member.log_path.exists():
        return []
    lines = member.log_path.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"partitions"')]


def shared(*members: Child) -> bool:
    """Whether each has one of the two partitions, in the same generation."""
    last = [assignments(member)[-1:] for member in members]
    if not all(last):
        return False
    generations = {found[0]["generation"] for found in last}
    return len(generations) == 1 and all(len(found[0]["partitions"]) == 1 for found in last)
