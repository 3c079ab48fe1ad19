"""``docs/services.md`` tells the truth: its programs run, and its tables are the ones we use."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.services.client import StepClient, StepRequest
from agents.services.directory import Directory
from agents.services.failure import STATUS_VERDICTS, ServiceError, verdict_of_http
from agents.services.settings import ServicesSettings
from schemas.records import CommandId, Json, StepName, TaskId, Usage

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "services.md").read_text()


@contextlib.asynccontextmanager
async def a_program_of_the_page(folder: Path, scheme: str) -> AsyncIterator[str]:
    """Run the example for a transport, as it stands on the page; the address of its service."""
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    file = folder / "shout.py"
    file.write_text(programs[("grpc", "http").index(scheme)])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(file), "0"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30.0):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("listening on ")
        yield f"{scheme}://127.0.0.1:{int(line.removeprefix('listening on '))}"
    finally:
        process.terminate()
        async with asyncio.timeout(10.0):
            await process.wait()


@contextlib.asynccontextmanager
async def the_service_of_the_page(folder: Path, scheme: str) -> AsyncIterator[StepClient]:
    async with a_program_of_the_page(folder, scheme) as address:
        directory = Directory(ServicesSettings(extra=f"shout={address}"))
        try:
            yield directory.client("shout")
        finally:
            await directory.close()


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


@pytest.mark.parametrize("scheme", ["grpc", "http"])
async def test_the_example_works_as_it_stands_on_the_page(tmp_path: Path, scheme: str) -> None:
    async with the_service_of_the_page(tmp_path, scheme) as client:
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


def test_the_table_of_http_statuses_is_the_one_that_is_used() -> None:
    rows = re.findall(
        r"^\| ([\d, ]+|any other \dxx|anything else) \| ([A-Z]+) \| ([A-Z_]+) \| (yes|no) \|$",
        PAGE,
        re.M,
    )
    shown = {
        int(status): row[1:]
        for row in rows
        for status in re.findall(r"\d{3}", row[0])  # 4xx and 5xx are not three digits
    }
    others = {row[0]: row[1:] for row in rows if not row[0][0].isdigit()}

    def said(status: int) -> tuple[str, ...]:
        default = {4: "any other 4xx", 5: "any other 5xx"}.get(status // 100, "anything else")
        return tuple(shown.get(status, others[default]))

    for status in range(300, 700):
        verdict = verdict_of_http(status)
        again = "yes" if verdict.failure_class.retriable else "no"

        assert said(status) == (verdict.failure_class.value, verdict.code, again), status


def test_every_code_of_a_reference_service_is_on_the_page() -> None:
    sources = "\n".join(
        path.read_text() for path in sorted((ROOT / "orchestrator" / "local" / "demo").glob("*.py"))
    )
    codes = set(re.findall(r'BadInputError\(\s*"([A-Z_]+)"', sources))

    assert len(codes) > 8
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
