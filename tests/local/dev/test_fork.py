"""Commands that are forked instead of started."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from orchestrator.local.dev.fork import Fork

WAIT_S = 60.0
SERVICES = {f"ORCH_DEMO_{name}_PORT": "0" for name in ("RETRIEVAL", "RAG_ENGINE")}

PARENT = """
import os, sys, time
from pathlib import Path
from orchestrator.local.dev.fork import Fork

if __name__ == "__main__":
    fork = Fork("f", ["demo-services"], env=dict(os.environ), log_path=Path(sys.argv[1]))
    fork.start()
    print(fork.pid, flush=True)
    time.sleep(120)
"""


def a_fork(folder: Path, *arguments: str, **env: str) -> Fork:
    return Fork("f", arguments, env={**os.environ, **env}, log_path=folder / "f.log")


async def test_a_forked_command_writes_its_log_and_ends_with_its_status(tmp_path: Path) -> None:
    fork = a_fork(tmp_path, "pipelines", "list")
    fork.start()

    assert await fork.wait(WAIT_S) == 0
    assert "rag" in fork.log_tail()


async def test_a_forked_command_has_its_own_environment(tmp_path: Path) -> None:
    fork = a_fork(tmp_path, "pipelines", "list", ORCH_NO_SUCH_SETTING="1")
    fork.start()

    assert await fork.wait(WAIT_S) == 1
    assert "ORCH_NO_SUCH_SETTING" in fork.log_tail()
    assert "ORCH_NO_SUCH_SETTING" not in os.environ


async def test_a_killed_fork_tells_its_signal_and_can_be_started_again(tmp_path: Path) -> None:
    fork = a_fork(tmp_path, "demo-services", **SERVICES)
    fork.start()
    first = fork.pid
    with pytest.raises(RuntimeError, match="already running"):
        fork.start()
    fork.kill()
    assert await fork.wait(WAIT_S) == -signal.SIGKILL

    fork.start()
    assert fork.pid != first
    assert fork.returncode is None
    assert await fork.stop(WAIT_S) is not None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds a process to its parent")
async def test_a_fork_does_not_outlive_the_process_that_asked_for_it(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, str(program), str(tmp_path / "f.log")),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **SERVICES},
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()

    async with asyncio.timeout(WAIT_S):
        while os.path.exists(f"/proc/{pid}"):  # noqa: ASYNC110, ASYNC240, PTH110
            await asyncio.sleep(0.05)
