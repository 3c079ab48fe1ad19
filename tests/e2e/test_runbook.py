"""The runbook, command by command: from a failed demonstration task to its completion."""

import asyncio
import os
import re
import sys
import uuid
from pathlib import Path

import pytest

from orchestrator.local.dev.demonstration import MALFORMED
from tests.e2e.driving import Running
from tests.e2e.letters import letters

pytestmark = [pytest.mark.pages, pytest.mark.asyncio(loop_scope="session")]

PAGE = Path("docs/runbook-dead-letters.md")
WAIT_S = 120.0


def commands() -> str:
    """The shell blocks of the page, in order, as one script."""
    return "\n".join(re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))


async def test_a_new_user_mends_the_demonstration_s_dead_letter_by_the_runbook(
    running: Running, tmp_path: Path
) -> None:
    task_id = f"malformed_{uuid.uuid4()}"
    headers = [("ce_tenantid", b"demonstration")]
    record = (task_id.encode(), MALFORMED)
    await running.publish(running.topics.task_created, [record], headers=headers)
    await letters(running, "demonstration", 1)

    code, shown = await run_script(running, tmp_path)
    row = (await running.ended([task_id]))[task_id]
    assert code == 0, shown
    assert row["status"] == "completed"
    assert "breaks_at_byte" in shown
    assert "ticket 4711" in shown
    assert (tmp_path / "letters.jsonl").read_text()


async def run_script(running: Running, folder: Path) -> tuple[int, str]:
    program = folder / "orchestrator"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n')
    program.chmod(0o755)
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ORCH_")}
    environment = {
        **kept,
        **running.system.environment,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path.cwd()),
        "COLUMNS": "200",
    }
    process = await asyncio.create_subprocess_exec(
        *("sh", "-eu", "-c", commands()),
        env=environment,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(WAIT_S):
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode()
