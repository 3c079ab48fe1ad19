"""Children that do not outlive us."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.local.embedded.process import Child

TIMEOUT_S = 20.0

IGNORES_SIGTERM = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def children() -> Iterator[list[Child]]:
    """What is put here is killed after the test, whatever its outcome."""
    started: list[Child] = []
    yield started
    for child in started:
        child.kill()


async def test_a_child_that_ends_within_the_grace_returns_its_own_status(
    tmp_path: Path, children: list[Child]
) -> None:
    child = a_shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done", tmp_path)
    await started(child, children)

    assert await child.stop(TIMEOUT_S) == 7
    assert child.returncode == 7


async def test_a_child_that_ignores_the_request_is_killed_after_the_grace(
    tmp_path: Path, children: list[Child]
) -> None:
    child = a_shell(IGNORES_SIGTERM, tmp_path)
    await started(child, children)

    assert await child.stop(0.1) == -signal.SIGKILL


async def test_a_stop_that_is_cancelled_kills(tmp_path: Path, children: list[Child]) -> None:
    child = a_shell(IGNORES_SIGTERM, tmp_path)
    await started(child, children)
    stopping = asyncio.create_task(child.stop(600))
    await asyncio.sleep(0)

    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping

    assert await child.wait(TIMEOUT_S) == -signal.SIGKILL


async def test_what_a_child_leaves_behind_ends_with_it(
    tmp_path: Path, children: list[Child]
) -> None:
    child = a_shell("sleep 600 & echo $! ready; wait", tmp_path)
    await started(child, children)
    grandchild = int(child.log_tail().split()[0])

    await child.stop(TIMEOUT_S)

    await until_gone(grandchild)


async def test_grandchildren_of_a_child_that_ends_by_itself_are_killed(
    tmp_path: Path, children: list[Child]
) -> None:
    child = a_shell("sleep 600 & echo $! ready; exit 3", tmp_path)
    await started(child, children)
    grandchild = int(child.log_tail().split()[0])

    assert await child.wait(TIMEOUT_S) == 3
    await until_gone(grandchild)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds a child to its parent")
async def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import pathlib, time, os\n"
        "from orchestrator.local.embedded.process import Child\n"
        f"child = Child('c', ['/bin/sh', '-c', {IGNORES_SIGTERM!r}], env={{}},"
        f" log_path=pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "child.start()\n"
        "while 'ready' not in child.log_tail(): time.sleep(0.01)\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )

    parent = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, timeout=TIMEOUT_S
    )

    assert parent.returncode == -signal.SIGKILL
    await until_gone(int(parent.stdout))


async def test_a_program_that_is_missing_shows_in_the_log(tmp_path: Path) -> None:
    child = Child("absent", [tmp_path / "absent"], env={}, log_path=tmp_path / "log")

    child.start()

    assert await child.wait(TIMEOUT_S) == 127
    assert f"cannot run {tmp_path / 'absent'}" in child.log_tail()


async def test_the_log_tail_is_of_the_last_start(tmp_path: Path) -> None:
    child = a_shell("echo one; echo two; echo three", tmp_path)
    child.start()
    await child.wait(TIMEOUT_S)
    child.start()
    await child.wait(TIMEOUT_S)

    assert child.log_tail(2) == "two\nthree"
    assert child.log_tail(9) == "one\ntwo\nthree"
    assert child.log_path.read_text() == "one\ntwo\nthree\n" * 2


async def test_a_log_that_has_grown_large_is_put_aside(tmp_path: Path) -> None:
    child = a_shell("echo new", tmp_path)
    child.log_path.parent.mkdir()
    with child.log_path.open("wb") as log:
        log.truncate(17 * 1024 * 1024)

    child.start()
    await child.wait(TIMEOUT_S)

    assert child.log_path.read_text() == "new\n"
    assert child.log_path.with_name("log.1").stat().st_size == 17 * 1024 * 1024


async def test_a_running_child_is_not_started_twice(tmp_path: Path, children: list[Child]) -> None:
    child = a_shell(IGNORES_SIGTERM, tmp_path)
    await started(child, children)

    with pytest.raises(RuntimeError, match="already running"):
        child.start()


def test_a_child_is_started_in_the_main_thread_only(tmp_path: Path) -> None:
    child = a_shell("exit 0", tmp_path)
    raised: list[BaseException] = []

    def start() -> None:
        try:
            child.start()
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(TIMEOUT_S)

    assert "main thread" in str(raised[0])


async def test_a_wait_that_times_out_leaves_the_child_alone(
    tmp_path: Path, children: list[Child]
) -> None:
    child = a_shell(IGNORES_SIGTERM, tmp_path)
    await started(child, children)

    with pytest.raises(TimeoutError):
        await child.wait(0.05)

    assert child.returncode is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run a child as somebody else")
@pytest.mark.usefixtures("more_groups")
async def test_a_child_of_root_runs_as_the_given_user_without_further_groups(
    tmp_path: Path,
) -> None:
    child = Child(
        "id",
        ["/bin/sh", "-c", "id -u; id -G"],
        env={"PATH": "/usr/bin:/bin"},
        log_path=tmp_path / "log",
        cwd=Path("/"),
        uid=65_534,
        gid=65_534,
    )
    child.start()

    assert await child.wait(TIMEOUT_S) == 0
    assert child.log_tail() == "65534\n65534"


@pytest.fixture
def more_groups() -> Iterator[None]:
    """We are in a group that a child must not be in."""
    before = os.getgroups()
    os.setgroups([*before, 1])
    yield
    os.setgroups(before)


def a_shell(script: str, tmp_path: Path) -> Child:
    return Child(
        "shell",
        ["/bin/sh", "-c", script],
        env={"PATH": "/usr/bin:/bin"},
        log_path=tmp_path / "logs" / "log",
    )


async def started(child: Child, children: list[Child]) -> None:
    """Start it and wait for the line with "ready" in its log."""
    child.start()
    children.append(child)
    async with asyncio.timeout(TIMEOUT_S):
        while "ready" not in child.log_tail():  # noqa: ASYNC110  # a process, not an event
            await asyncio.sleep(0.01)


async def until_gone(pid: int) -> None:
    """Return when the process is gone (or a zombie that init has yet to collect)."""
    async with asyncio.timeout(TIMEOUT_S):
        while is_alive(pid):  # noqa: ASYNC110  # a process, not an event
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
