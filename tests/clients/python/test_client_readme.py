"""The programs of ``clients/python/README.md``, as they stand there."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from agents.services.directory import Directory
from agents.services.settings import ServicesSettings
from tests.clients.python.a_step_service import a_request

CLIENT = Path(__file__).parents[3] / "clients" / "python"
PROGRAMS = re.findall(r"```python\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)


@pytest.mark.slow
async def test_the_step_of_the_page_is_served_by_its_last_line(tmp_path: Path) -> None:
    file = tmp_path / "shouter.py"
    file.write_text(PROGRAMS[0].replace("serve(9001)", "serve(0)"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(file)),
        env={**os.environ, "PYTHONPATH": str(CLIENT)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            line = (await process.stdout.readline()).decode()
        directory = Directory(ServicesSettings(extra=f"mine={line.split()[-1]}"))
        answer = await directory.client("mine").call(a_request("shout", '{"text": "two words"}'))
        await directory.close()
    finally:
        process.terminate()
        async with asyncio.timeout(10):
            status = await process.wait()

    assert line.startswith("serving shout at http://127.0.0.1:")
    assert json.loads(answer.output) == {"text": "TWO WORDS"}
    assert answer.usage is not None
    assert answer.usage.input_tokens == 2
    assert status == 0
