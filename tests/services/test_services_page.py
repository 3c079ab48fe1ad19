"""``docs/services.md`` tells the truth: its program runs, and its table is the one we use."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.services.client import StepRequest
from agents.services.failure import STATUS_VERDICTS, ServiceError
from agents.services.grpc_client import GrpcStepClient
from schemas.records import CommandId, Json, StepName, TaskId, Usage

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "services.md").read_text()


@contextlib.asynccontextmanager
async def the_service_of_the_page(folder: Path) -> AsyncIterator[GrpcStepClient]:
    program = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert program is not None
    file = folder / "shout.py"
    file.write_text(program[1])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(file), "0"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30.0):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("listening on ")
        port = int(line.removeprefix("listening on "))
        client = GrpcStepClient(f"127.0.0.1:{port}", service="shout", max_message_bytes=65536)
        try:
            yield client
        finally:
            await client.close()
    finally:
        process.terminate()
        async with asyncio.timeout(10.0):
            await process.wait()


def a_request(method: str, text: str) -> StepRequest:
    return StepRequest(
        method=method,
        input=Json(text),
        task_id=TaskId("task_1"),
        run=1,
        step=StepName("shout"),
        attempt=1,
        tenant_id="acme",
        idempotency_key=CommandId("task_1/1/shout/1"),
        timeout_s=10.0,
    )


async def test_the_example_works_as_it_stands_on_the_page(tmp_path: Path) -> None:
    async with the_service_of_the_page(tmp_path) as client:
        response = await client.call(a_request("Shout", '{"text": "two words"}'))
        with pytest.raises(ServiceError) as refused:
            await client.call(a_request("Shout", "{}"))
        with pytest.raises(ServiceError) as unknown:
            await client.call(a_request("Whisper", "{}"))

    assert response.output == '{"text": "TWO WORDS"}'
    assert response.usage == Usage(model="shout-1", input_tokens=2)
    assert (refused.value.code, refused.value.detail_code) == ("SERVICE_REFUSED", "TEXT_MISSING")
    assert unknown.value.code == "SERVICE_METHOD_UNKNOWN"


def test_the_table_of_statuses_is_the_one_that_is_used() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([A-Z]+) \| ([A-Z_]+) \| (yes|no) \|$", PAGE, re.M)

    assert {row[0]: row[1:] for row in rows} == {
        status.name: (
            verdict.failure_class.value,
            verdict.code,
            "yes" if verdict.failure_class.retriable else "no",
        )
        for status, verdict in STATUS_VERDICTS.items()
    }
