"""Children are started again when they end, unless somebody keeps them down."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.local.dev.supervisor import Supervisor
from orchestrator.local.embedded.process import Child


def a_sleeper(folder: Path, name: str = "sleeper") -> Child:
    code = "import time; print('up', flush=True); time.sleep(600)"
    return Child(name, [sys.executable, "-c", code], env=os.environ, log_path=folder / name)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # a process is watched
            await asyncio.sleep(0.02)


async def test_a_child_that_is_killed_is_started_again(tmp_path: Path) -> None:
    async with Supervisor([child := a_sleeper(tmp_path)]) as supervisor:
        first = child.pid
        child.kill()
        await until(lambda: supervisor.restarts["sleeper"] == 1)

        assert child.returncode is None
        assert child.pid != first


async def test_a_stopped_child_stays_down_until_it_is_started(tmp_path: Path) -> None:
    children = [child := a_sleeper(tmp_path), other := a_sleeper(tmp_path, "other")]
    async with Supervisor(children) as supervisor:
        await supervisor.stop("sleeper")
        # The other one goes through a whole restart meanwhile, with its delay.
        other.kill()
        await until(lambda: supervisor.restarts["other"] == 1)
        ended_as = child.returncode
        await supervisor.start("sleeper")

        assert ended_as == -15
        assert child.returncode is None


async def test_a_held_child_runs_on_and_stays_down_once_it_ends(tmp_path: Path) -> None:
    children = [child := a_sleeper(tmp_path), other := a_sleeper(tmp_path, "other")]
    async with Supervisor(children) as supervisor:
        supervisor.hold("sleeper")
        held_as = child.returncode
        child.kill()
        other.kill()
        await until(lambda: supervisor.restarts["other"] == 1)

        assert (held_as, child.returncode) == (None, -9)
        assert supervisor.restarts["sleeper"] == 0


async def test_a_paused_child_stands_still_and_can_still_be_stopped(tmp_path: Path) -> None:
    async with Supervisor([child := a_sleeper(tmp_path)]) as supervisor:
        await until(lambda: "up" in child.log_tail())
        supervisor.pause("sleeper")
        await until(lambda: state_of(child) == "T")
        supervisor.resume("sleeper")
        await until(lambda: state_of(child) != "T")
        supervisor.pause("sleeper")

    assert child.returncode == -15


async def test_a_child_can_be_added_and_only_once(tmp_path: Path) -> None:
    async with Supervisor([]) as supervisor:
        supervisor.add(child := a_sleeper(tmp_path))

        assert child.returncode is None
        with pytest.raises(ValueError, match="already"):
            supervisor.add(a_sleeper(tmp_path))


def state_of(child: Child) -> str:
    """The kernel's letter for a process: T is stopped."""
    return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]
