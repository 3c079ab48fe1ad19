"""``python -m ai_orchestrator FILE``, as ``orchestrator dev`` runs it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from agents.services.directory import Directory
from agents.services.settings import ServicesSettings
from tests.clients.python.a_step_service import a_request
from tests.clients.python.test_client_readme import CLIENT

HANGING = """
import threading
from ai_orchestrator import step

@step("hang")
def hang():
    print("hangs", flush=True)
    threading.Event().wait()
"""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--grpc"]], ids=["http", "grpc"])
async def test_the_program_ends_though_a_plain_step_does_not(
    tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ai_orchestrator", str(tmp_path / "hanging.py"), "--port", "0"),
        *arguments,
        env={**os.environ, "PYTHONPATH": str(CLIENT)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            taken = await process.stdout.readline()
            address = (await process.stdout.readline()).decode().split()[-1]
            directory = Directory(ServicesSettings(extra=f"mine={address}"))
            calling = asyncio.create_task(directory.client("mine").call(a_request("hang")))
            assert await process.stdout.readline() == b"hangs\n"
            process.terminate()
            status = await process.wait()
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
            await directory.close()
    finally:
        if process.returncode is None:
            process.kill()

    assert taken == b"hanging.py: taken: hang\n"
    assert status == 0
