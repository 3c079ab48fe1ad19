"""Every ``orchestrator task`` command of docs/cli.md, as it stands there."""

import re
import shlex
from pathlib import Path

import pytest

from tests.e2e.driving import Running
from tests.e2e.task_commands import QUESTION, Commands

PAGE = Path("docs/cli.md").read_text("utf-8")
SHELL = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LINES = [line for text in SHELL for line in text.splitlines() if "orchestrator task" in line]


def test_the_page_shows_each_command() -> None:
    shown = {re.search(r"orchestrator task ([a-z-]+)", line) for line in LINES}

    assert {found[1] for found in shown if found} == {
        *("create", "get", "explain", "watch", "list"),
        *("execute", "cancel", "retry", "set-priority"),
    }


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("line", LINES)
async def test_a_command_of_the_page_works(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    (tmp_path / "question.json").write_text(QUESTION)
    monkeypatch.chdir(tmp_path)
    direct = "--direct" in line
    user = Commands(running, direct=True) if direct else await Commands.by_the_service(running)
    # A watch ends with its task, which nobody would execute.
    task_id = await user.created(*([] if "watch" in line else ["--hold"]))
    if "retry" in line:
        await user.ordered("cancel", task_id)
    echoed, _, command = line.rpartition("orchestrator ")
    given = shlex.split(echoed)[1] if echoed else ""
    words = shlex.split(command.replace("task_019a…", task_id))
    ended = await user.run(*(word for word in words if word != "--direct"), given=given)

    assert ended.status == 0, ended.err
